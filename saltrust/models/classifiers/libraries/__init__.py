"""Architectures of other libraries, by ``library:name``; one module each."""
