"""The cubes: what a store may hold, and how it is written, opened, checked and described."""
