"""What cannot be read of a data set: collected, and said at once or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from saltrust.choices import OnError
from saltrust.errors import DataError

#: Of files that one sentence names, and of their characters, so that its end is read too.
MOST_NAMED, _MOST_CHARACTERS = 20, 1500


@dataclass
class BadFiles:
    """What of some images cannot be read.

    Attributes
    ----------
    on_error : {'stop', 'skip'}
        Whether such images end the job, once all of them are known, or are left out of it.
    reasons : dict of str to str
        A sentence for each such image, in the order in which they were met.
    """

    on_error: OnError = "stop"
    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def collecting(self, image: str) -> Iterator[None]:
        """Take up what goes wrong with one image; the block ends there."""
        try:
            yield
        except DataError as error:
            self.reasons.setdefault(image, str(error))

    def settle(self, total: int, what: str, labels: Mapping[str, str] | None = None) -> str:
        """End the job where it is to stop, or where nothing is left of it.

        Parameters
        ----------
        total : int
            Images that were to be read.
        what : str
            What is read of them, in the plural.
        labels : mapping, optional
            How a sentence names the images: their files.

        Returns
        -------
        str
            What is left out, for a warning; empty where that is nothing.

        Raises
        ------
        DataError
            With all of them.
        """
        if not self.reasons:
            return ""
        first = next(iter(self.reasons.values()))
        listed = names_of(self.reasons, labels)
        if self.on_error == "skip":
            text = f"{len(self.reasons)} of {total} {what} cannot be read and are left out"
            if len(self.reasons) >= total:
                raise DataError(f"none of {total} {what} can be read: {listed}; the first: {first}")
            return f"{text}: {listed}; the first: {first}"
        if len(self.reasons) == 1:
            raise DataError(f"{first}, or say --on-error skip, which leaves it out")
        raise DataError(f"{len(self.reasons)} of {total} {what} cannot be read: {listed}; replace "
                        "them and repeat the command with --resume, or leave them out with "
                        f"--on-error skip; the first: {first}")


def settle_all(*settlements: Callable[[], str]) -> list[str]:
    """Settle what cannot be read of several kinds, so that no kind hides another.

    Returns
    -------
    list of str
        What is left out of each, where anything is.

    Raises
    ------
    DataError
        With the sentences of all that end the job.
    """
    left_out, errors = [], []
    for settle in settlements:
        try:
            left_out.append(settle())
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("; and ".join(errors))
    return [sentence for sentence in left_out if sentence]


def names_of(images: Mapping[str, str], labels: Mapping[str, str] | None = None) -> str:
    """The first names of images, and how many more there are.

    Examples
    --------
    >>> names_of({"a": "", "b": ""}, {"a": "x/a.png"})
    'x/a.png, b'
    """
    names: list[str] = []
    for image in list(images)[:MOST_NAMED]:
        name = (labels or {}).get(image, image)
        if names and len(", ".join([*names, name])) > _MOST_CHARACTERS:
            break
        names.append(name)
    more = len(images) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
