"""The four criteria of protocol A: utility, randomization, repeatability, reproducibility."""
