"""What the headers of many radiographs say, and all at once of which it cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from saltrust.cache.bad_files import BadFiles
from saltrust.choices import OnError
from saltrust.datasets.files.radiograph_files import native_size
from saltrust.errors import DataError

UNKNOWN_SIZE = (0, 0)


def native_sizes(files: Mapping[str, Path], on_error: OnError = "stop",
                 ) -> dict[str, tuple[int, int]]:
    """Height and width of radiographs by image, from their headers.

    Parameters
    ----------
    files : mapping of str to path
    on_error : {'stop', 'skip'}
        With ``'skip'`` the size of one that cannot be read is unknown, (0, 0); whoever decodes
        it finds it bad again, and leaves it out.

    Raises
    ------
    DataError
        With ``'stop'``, if any cannot be read: all of them are named.
    """
    bad = BadFiles(on_error)
    sizes = dict.fromkeys(files, UNKNOWN_SIZE)
    for image, path in files.items():
        with bad.collecting(image):
            sizes[image] = native_size(path)
    if on_error == "stop":
        bad.settle(len(files), "radiographs", {image: str(files[image]) for image in bad.reasons})
    return sizes


def require_headers(files: Mapping[str, Path], images: Iterable[str], *,
                    progress: bool = False) -> None:
    """Read the headers of radiographs before a long job begins, which is cheap.

    Parameters
    ----------
    files : mapping of str to path
    images : iterable of str
        Those without a file are passed over.
    progress : bool

    Raises
    ------
    DataError
        If any is missing or no image: all of them are named.
    """
    asked = {image: files[image] for image in images if image in files}
    native_sizes(dict(tqdm(asked.items(), desc="reading headers", unit="image",
                           disable=None if progress else True)))


def require_files(paths: Sequence[Path], what: str, way_out: Callable[[Path], str]) -> None:
    """Refuse a list that names files that are not there, which is a mistake in the list.

    Parameters
    ----------
    paths : sequence of path
    what : str
        What they are and who names them: ``"radiographs that list.csv names"``.
    way_out : callable
        What to do, of the first that is missing.

    Raises
    ------
    DataError
        With how many are missing, and the first of them.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f", then {', '.join(path.name for path in missing[1:20])}" if missing[1:] else ""
        more += f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        raise DataError(f"{len(missing)} of {len(paths)} {what} do not exist, the first is "
                        f"{missing[0]}{more}; {way_out(missing[0])}")
