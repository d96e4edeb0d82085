"""How large what a file claims may be, so that nothing is set aside for a claim alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from saltrust.errors import DataError
from saltrust.reading import check_path, reading, shown

P = ParamSpec("P")
T = TypeVar("T")

#: Largest radiograph, in pixels; a 17 x 17 inch detector has about 20 million.
PIXEL_LIMIT = 89_000_000
#: Largest DICOM file when it is inflated; 89 million pixels of 32 bits, and room for a header.
MOST_DICOM_BYTES = 400 * 2**20
#: Corners of all contours of one annotation; drawn by hand they have hundreds.
MOST_CORNERS = 1_000_000
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
