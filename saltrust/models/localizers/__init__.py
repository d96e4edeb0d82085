"""Networks that localize."""
