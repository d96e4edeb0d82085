"""Figures that are asked for by name, one module per subject."""
