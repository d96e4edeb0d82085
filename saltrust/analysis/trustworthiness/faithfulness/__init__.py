"""Is a map faithful to its model?  Curves, their areas, and maps of perturbed images."""
