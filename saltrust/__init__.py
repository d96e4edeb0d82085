"""saltrust: do the saliency maps of a radiograph classifier deserve trust?

::

    cubes = saltrust.open_cubes("study.zarr")   # an xarray.DataTree
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saltrust.cache.store import open_cubes as open_cubes

__version__ = "0.1.0"
__all__ = ["__version__", "open_cubes"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import saltrust` and `saltrust --help` stay light.
    if name == "open_cubes":
        from saltrust.cache.store import open_cubes

        return open_cubes
    raise AttributeError(f"module 'saltrust' has no attribute {name!r}")
