"""Real and synthetic data sets as collections: labels, radiographs and annotations."""
