"""Do the maps find what radiologists find?  Scores, thresholds, means, contrasts, baselines."""
