"""Several readers and several cases: covariances, and tests with readers random."""
