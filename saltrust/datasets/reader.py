"""How a data set declares itself: the kind, what ``path`` holds, which keys of ``[data]`` it takes.

A data set is a folder (a sub-package) of :mod:`saltrust.datasets`.  Its ``__init__.py`` declares
a reader, a function from the study to a :class:`saltrust.cache.collection.Collection`, and
imports what it needs within, so that asking for one data set does not load the others::

    @reader("lidc", "a folder of LIDC scans", optional=("split_fractions",))
    def open_lidc(study):
        from saltrust.datasets.lidc.collection import lidc

        return lidc(study.path(study.data.path), findings=study.data.findings)

Another package offers one so too, with an entry point of the group ``saltrust.datasets`` whose
name is the kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saltrust.choices import OnError
from saltrust.errors import UsageError, nearest
from saltrust.study import DataSpec, Study

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection

#: Keys of ``[data]`` that every kind takes.
COMMON_KEYS = ("kind", "findings")


@dataclass(frozen=True)
class Reader:
    """A kind of data set as the registry knows it.

    Attributes
    ----------
    kind : str
        What ``kind`` under ``[data]`` says.
    meaning : str
        What ``path`` holds, as part of a sentence.
    function : callable
        Opens the data set of a study.
    required, optional : tuple of str
        Keys of ``[data]`` that must be stated, and that may be; ``kind`` and ``findings`` aside.
    tolerant : bool
        Whether the function takes ``on_error``: it looks into the files of radiographs itself.
    """

    kind: str
    meaning: str
    function: Callable[..., Collection]
    required: tuple[str, ...] = ("path",)
    optional: tuple[str, ...] = ()
    tolerant: bool = False

    def __call__(self, study: Study, on_error: OnError = "stop") -> Collection:
        """Open the data set of a study whose ``[data]`` has been checked."""
        return self.function(study, on_error=on_error) if self.tolerant else self.function(study)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of ``[data]`` that mean something for this kind."""
        return (*COMMON_KEYS, *self.required, *self.optional)


def reader(kind: str, meaning: str, *, required: tuple[str, ...] = ("path",),
           optional: tuple[str, ...] = (), tolerant: bool = False,
           ) -> Callable[[Callable[..., Collection]], Reader]:
    """Declare a function as the reader of a kind of data set.

    Parameters
    ----------
    kind : str
        What ``kind`` under ``[data]`` of a study file says.
    meaning : str
        What ``path`` holds, as part of a sentence: "a folder of radiographs".
    required : tuple of str
        Fields of :class:`saltrust.study.DataSpec` that must be stated; ``path`` must exist.
    optional : tuple of str
        Those that may be stated besides.  Whatever is in neither is refused in a study file.
    tolerant : bool
        Whether the function takes ``on_error`` beside the study, ``"stop"`` or ``"skip"``, as it
        looks into the files of radiographs itself; else those are met when they are decoded.

    Returns
    -------
    callable
        Makes a :class:`Reader` of the function.

    Raises
    ------
    UsageError
        If a key is no field of :class:`saltrust.study.DataSpec`.

    Examples
    --------
    >>> @reader("scans", "a folder of scans", optional=("split_fractions",))
    ... def open_scans(study): ...
    >>> open_scans.keys
    ('kind', 'findings', 'path', 'split_fractions')
    """
    known = [item.name for item in dataclasses.fields(DataSpec)]
    for key in (*required, *optional):
        if key not in known:
            raise UsageError(f"the reader of kind = {kind!r} names the key {key!r}, which [data] "
                             f"does not have; {nearest(key, known)}")

    def declare(function: Callable[..., Collection]) -> Reader:
        return Reader(kind, meaning, function, tuple(required), tuple(optional), tolerant)

    return declare
