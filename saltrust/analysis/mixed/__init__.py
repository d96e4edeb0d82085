"""Linear mixed-effects models with random intercepts, and comparisons of marginal means."""
