"""The errors that saltrust raises on purpose.

Every message is one sentence that names the file, the label or the variable at
fault and says the way out.  The command line prints the sentence and exits with
``exit_code``; nothing below it prints or exits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Characters of a message that a person reads.
_MOST_MESSAGE = 3000
#: Of candidates that are compared with a word, that are named, and of letters of each.
_MOST_COMPARED, _MOST_NAMED, _MOST_CHARACTERS = 5000, 60, 100


class SaltrustError(Exception):
    """Base of all errors that saltrust raises on purpose.

    Of a message that a label or a path makes endless the middle is left out: what is wrong
    stands at its beginning, and the way out at its end.
    """

    exit_code = 1

    def __str__(self) -> str:
        return without_middle(super().__str__())


class DataError(SaltrustError):
    """The data cannot give what was asked: exit status 1."""

    exit_code = 1


class UsageError(SaltrustError):
    """The call itself is wrong (option, study file, output path): exit status 2."""

    exit_code = 2


class NothingToDo(SaltrustError):
    """What was asked has been done before: a word to the reader, exit status 0."""

    exit_code = 0


def without_middle(text: str) -> str:
    """A message of which a label or a path makes too much, its middle left out."""
    half = _MOST_MESSAGE // 2
    return text if len(text) <= _MOST_MESSAGE else f"{text[:half]} ... {text[-half:]}"


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Say what the reader may have meant by ``word``.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` where a candidate is close, else
        ``"known are: a, b, c"``.

    Examples
    --------
    >>> nearest("gradcm", ["grad", "gradcam"])
    "did you mean 'gradcam'?"
    >>> nearest("zzz", ["grad", "gradcam"])
    'known are: grad, gradcam'
    """
    known = list(map(str, candidates))
    # Comparing takes the product of lengths; names of people's labels and columns are short.
    short = [name for name in known[:_MOST_COMPARED] if len(name) <= _MOST_CHARACTERS]
    close = difflib.get_close_matches(str(word)[:_MOST_CHARACTERS], short, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f", ... ({len(known):,} in all)" if len(known) > _MOST_NAMED else ""
    return "known are: " + ", ".join(
        name if len(name) <= _MOST_CHARACTERS else name[:_MOST_CHARACTERS] + "..."
        for name in known[:_MOST_NAMED]) + more
