"""Kernels of inference: resampling, regression, correlation, families of tests."""
