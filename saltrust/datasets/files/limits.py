"""How large what a file claims may be, so that nothing is set aside for a claim alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from saltrust.errors import DataError
from saltrust.reading import check_path, reading, shown

P = ParamSpec("P")
T = TypeVar("T")

#: Largest radiograph, in pixels; a 17 x 17 inch detector has about 20 million.
PIXEL_LIMIT = 89_000_000
#: Largest DICOM file when it is inflated; 89 million pixels of 16 bits, and room for a header.
MOST_DICOM_BYTES = 192 * 2**20
#: Pieces in which a DICOM file is read, two or three for an element; of radiographs some hundred.
MOST_DICOM_READS = 500_000
#: Converted at a time: as float64, with what is made on the way, they take some 100 MB.
_PIXELS_AT_ONCE = 4 * 2**20
#: Corners of all contours of one annotation; drawn by hand they have hundreds.
MOST_CORNERS = 1_000_000
#: Corners times rows of all contours of one annotation: some seconds; real ones take hundredths.
MOST_SCANNING = 2e8
#: Boxes, or points, of one finding by one reader in one image; every one widens the store.
MOST_INSTANCES = 500
#: Of one image; a reading of minutes has some hundred, samples of the tracker are another thing.
MOST_FIXATIONS = 10_000
#: Of all names of one kind; each takes as much memory as the longest.
MOST_NAME_BYTES = 256 * 2**20
#: A corner farther from the image than this lies nowhere that anybody drew.
FARTHEST_PIXEL = 1e6


def check_pixels(height: int, width: int, where: object) -> None:
    """Refuse a size that no radiograph has.

    Parameters
    ----------
    height, width : int
        As a header, a table or an annotation states them.
    where : object
        The file, or the row of a table, for the sentence.

    Raises
    ------
    DataError
    """
    if height < 1 or width < 1:
        raise DataError(f"{where} states {shown(height)} x {shown(width)} pixels, an image without "
                        "pixels; correct it or fetch the file again")
    if height * width > PIXEL_LIMIT:
        raise DataError(f"{where} states {shown(height)} x {shown(width)} pixels, more than the "
                        f"{PIXEL_LIMIT:,} of any radiograph; check where it comes from")


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows that are converted together, so that a film never lies in memory as float64.

    Parameters
    ----------
    shape : tuple of int
        Of the image: height, width and whatever follows.

    Examples
    --------
    >>> [(rows.start, rows.stop) for rows in bands((5, 2**21))]
    [(0, 2), (2, 4), (4, 5)]
    """
    step = max(_PIXELS_AT_ONCE // max(shape[1], 1), 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def check_instances(number: int, what: str) -> None:
    """Refuse more boxes or points of one annotation than anybody draws.

    Parameters
    ----------
    number : int
    what : str
        ``"boxes"`` or ``"points"``, for the sentence.

    Raises
    ------
    DataError
    """
    if number > MOST_INSTANCES:
        raise DataError(f"there are {number:,} {what} of one finding by one reader, more than the "
                        f"{MOST_INSTANCES} that a store keeps; give a mask instead")


def check_names(names: Sequence[str], what: str, *, blank: bool = True) -> None:
    """Refuse texts that cannot be names of images, findings, readers or what is known of them.

    Parameters
    ----------
    names : sequence of str
    what : str
        What one of them is, for the sentence.
    blank : bool
        Whether one may be blank, for what is not known.

    Raises
    ------
    DataError
        If one holds what no text in UTF-8 holds, or NUL, or is so long that all would take
        gigabytes; if one is blank that may not be.
    """
    if not blank and not all(name.strip() for name in names):
        raise DataError(f"number {1 + [not name.strip() for name in names].index(True):,} of the "
                        f"{what}s is blank; name it or leave it out")
    longest = max(map(len, names), default=0)
    # NumPy keeps four bytes a character, as many characters for each as for the longest.
    if 4 * longest * len(names) > MOST_NAME_BYTES:
        raise DataError(f"the {what} {shown(max(names, key=len), 40)} of {longest:,} characters is "
                        f"too long for one of {len(names):,}; shorten it")
    for name in names:
        if "\0" in name or not (name.isascii() or _is_text(name)):
            raise DataError(f"the {what} {shown(name)} holds a NUL character, or bytes that are no "
                            "UTF-8; rename it")


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def of_file(way_out: str = "fetch it again, or leave it out"
            ) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make everything that goes wrong in a function one sentence that names its file.

    Parameters
    ----------
    way_out : str
        Follows a semicolon.

    Returns
    -------
    callable
        A decorator of functions whose first argument is a path.
    """
    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def bounded(*arguments: P.args, **options: P.kwargs) -> T:
            path = Path(str(arguments[0]))
            check_path(path, "the path", DataError)
            with reading(str(path), way_out):
                return function(*arguments, **options)

        return bounded

    return decorate


def of_image(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make everything that goes wrong in a method one sentence that names its image.

    Parameters
    ----------
    what : str
        What is read of the image, such as ``"the annotations"``.

    Returns
    -------
    callable
        A decorator of methods of a collection whose argument after ``self`` is an image.
    """
    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def bounded(*arguments: P.args, **options: P.kwargs) -> T:
            with reading(f"{what} of image {shown(arguments[1])}",
                         "correct what the data set says of it, or leave it out"):
                return function(*arguments, **options)

        return bounded

    return decorate
