"""Protocol A (Arun et al.): utility, randomization, repeatability, reproducibility."""
