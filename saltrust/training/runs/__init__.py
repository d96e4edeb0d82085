"""A training run: where it lies, what it keeps, how it goes on."""
