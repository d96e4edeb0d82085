"""Whether maps of confident predictions are better localized."""
