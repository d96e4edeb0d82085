"""Classifiers: architectures by name, their input contract, and their checkpoints."""
