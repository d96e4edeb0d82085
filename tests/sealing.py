"""Changing a finished store on purpose, as if its own job had written it so."""

from __future__ import annotations

from pathlib import Path

import zarr

from saltrust.cache.checksums import seal


def seal_again(path: Path) -> None:
    """Make the checksums of a store anew for what it holds now."""
    attributes = zarr.open_group(path, mode="r+").attrs
    attributes.put(seal(path, dict(attributes)))
