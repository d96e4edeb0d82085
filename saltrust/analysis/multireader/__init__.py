"""Several readers, several cases: treatments by readers, from cubes or a table of ratings."""
