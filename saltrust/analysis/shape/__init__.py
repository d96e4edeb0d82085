"""What shape findings have, and whether it explains where maps fail."""
