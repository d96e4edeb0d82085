"""XRAI: segments of the radiograph, regions grown from them, and the map they make."""
