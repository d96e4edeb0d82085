"""Kernels on the pixels of maps and masks: NumPy arrays in, arrays out."""
