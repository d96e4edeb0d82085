"""A plan before the data: written, frozen, and compared with what was run."""
