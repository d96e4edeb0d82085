"""Free-response analysis of maps: which marks they would make, and which of these are lesions."""
