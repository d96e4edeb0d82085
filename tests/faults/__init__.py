"""Long proofs: what kills, damage and hostile places do to a store; `make faults` runs them."""
