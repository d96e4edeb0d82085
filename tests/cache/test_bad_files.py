"""What cannot be read, said at once."""

from __future__ import annotations

import pytest

from saltrust.cache.bad_files import MOST_NAMED, BadFiles
from saltrust.choices import OnError
from saltrust.errors import DataError


def collected(count: int, on_error: OnError = "stop") -> BadFiles:
    bad = BadFiles(on_error)
    for number in range(count):
        with bad.collecting(f"image-{number}"):
            raise DataError(f"image-{number}.png is truncated; fetch it again")
    return bad


def test_one_keeps_its_sentence() -> None:
    with pytest.raises(DataError, match=r"^image-0\.png is truncated; .*, or say --on-error"):
        collected(1).settle(9, "radiographs")


def test_all_are_named_at_once() -> None:
    with pytest.raises(DataError, match=r"^3 of 9 radiographs cannot be read: a\.png, image-1, "
                                        r"image-2; .*--on-error skip; the first: image-0\.png is"):
        collected(3).settle(9, "radiographs", {"image-0": "a.png"})


def test_many_are_counted() -> None:
    with pytest.raises(DataError, match=r"image-19 and 10 more;"):
        collected(MOST_NAMED + 10).settle(99, "radiographs")
    long = {f"image-{number}": f"{number}" * 400 for number in range(9)}
    with pytest.raises(DataError, match=r" and 6 more; .*the first: image-0\.png is truncated"):
        collected(9).settle(99, "radiographs", long)


def test_left_out_is_a_word_unless_nothing_is_left() -> None:
    assert collected(0, "skip").settle(2, "radiographs") == ""
    assert collected(1, "skip").settle(2, "radiographs").startswith(
        "1 of 2 radiographs cannot be read and are left out: image-0; the first: ")
    with pytest.raises(DataError, match="none of 2 radiographs can be read"):
        collected(2, "skip").settle(2, "radiographs")


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), BadFiles("skip").collecting("a"):
        1 / 0  # noqa: B018
