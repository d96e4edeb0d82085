"""Power by simulation, with the very tests that the analyses use."""
