"""Files that a manifest names: slashes of any system, and what is meant where one lacks."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path

from saltrust.datasets.files.radiograph_files import native_size
from saltrust.errors import DataError, nearest
from saltrust.reading import existing_path

_DRIVE = re.compile(r"(^|/)[A-Za-z]:/|\\\\")
#: Names of a folder that are looked through for one like that which lacks.
_MOST_BESIDE = 10_000


def listed_name(folder: Path, cell: str) -> Path:
    r"""A path cell as it stands, the backslashes of Windows turned unless a file has them.

    Examples
    --------
    >>> listed_name(Path("nowhere"), "img\\a.png").as_posix()
    'img/a.png'
    """
    if "\\" not in cell or (folder / cell).exists():
        return Path(cell)
    return Path(cell.replace("\\", "/"))


def mask_file(cell: str, folder: Path) -> Path | None:
    """Path of a mask cell that names a file; None where it holds a code or nothing.

    A file name has a dot, which no run-length code has.
    """
    if "." not in cell or cell.startswith("{"):
        return None
    return existing_path(folder, cell)


def check_mask_file(path: Path, radiograph: str, size: tuple[int, int]) -> None:
    """Raise a DataError unless a mask file is a PNG of its radiograph's size."""
    if path.suffix.lower() != ".png":
        raise DataError(f"the mask {path} is not a PNG, and other formats blur edges or hide "
                        "labels; convert it")
    mask_size = native_size(path)
    if mask_size != size:
        raise DataError(f"the mask {path} has {mask_size[0]} x {mask_size[1]} pixels but its "
                        f"radiograph {radiograph} has {size[0]} x {size[1]}; give the mask at "
                        "the size of the radiograph")


def missing_hint(missing: Path) -> str:
    """The way out where a file is missing: a name like it, or where paths start.

    Examples
    --------
    >>> missing_hint(Path("data/C:/films/a.png"))
    'paths on a drive of Windows are not known here; let them start at the folder of the CSV'
    """
    if _DRIVE.search(str(missing)):
        return ("paths on a drive of Windows are not known here; let them start at the folder of "
                "the CSV")
    # A folder of the path may be what lacks.
    missing = next((path for path in (*reversed(missing.parents), missing) if not path.exists()),
                   missing)
    names = []
    if missing.parent.is_dir():
        names = [path.name for path in itertools.islice(missing.parent.iterdir(), _MOST_BESIDE)]
    alike = _folded(missing.name)
    same = next((name for name in names if _folded(name) == alike), None)
    meant = f"did you mean {same!r}?" if same else nearest(missing.name, names) if names else ""
    if meant.startswith("did you mean"):
        return f"{meant} Paths start at the folder of the CSV"
    return "paths start at the folder of the CSV"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
