"""Mixed models whose residual variance differs between the levels of a factor."""
