r"""Texts of others on a terminal: control characters are shown, such as ``\x1b``, and not obeyed.

A label, a file name or a cell may hold what clears a screen, sets its title, or turns the order of
letters around.  What is printed goes through here; what is written to files stays as it is.
"""

from __future__ import annotations

import re

#: C0 and C1 controls and DEL; marks that turn the order of letters; ends of lines and paragraphs
#: that are no newline; halves of characters, which cannot be written; invisible tags.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
                     "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]")


def printable(text: str, *, kept: str = "") -> str:
    r"""Write out the characters of a text that a terminal would obey.

    Parameters
    ----------
    text : str
    kept : str
        Characters that stay, such as the newlines of a table.

    Examples
    --------
    >>> print(printable("Edema\x1b[2J\n"), printable("a\tb\u202e"))
    Edema\x1b[2J\n a\tb\u202e
    """
    return _OBEYED.sub(lambda match: match[0] if match[0] in kept else _escape(match[0]), text)


def printable_json(text: str) -> str:
    r"""JSON that means the same, its control characters written out as JSON has them.

    Examples
    --------
    >>> print(printable_json('{"a": "\x9b2J"}'))
    {"a": "\u009b2J"}
    """
    return _OBEYED.sub(
        lambda match: match[0] if match[0] in "\n\t" else "".join(
            f"\\u{unit:04x}" for unit in _utf16(match[0])), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _utf16(character: str) -> list[int]:
    content = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(content[place:place + 2], "big") for place in range(0, len(content), 2)]
