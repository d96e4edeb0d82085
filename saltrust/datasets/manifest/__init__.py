"""Radiographs, labels and annotations listed in a CSV."""
