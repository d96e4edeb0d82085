"""Reading single files that nobody vouches for: images, codes, tables, pickles."""
