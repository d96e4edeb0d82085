"""Simulated studies: whole finished stores, for tests and for trying analyses out."""

from saltrust.testing.simulation import simulate_cubes

__all__ = ["simulate_cubes"]
