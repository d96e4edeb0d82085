"""What the fields of a card may hold: a card is written by people and programs, and read by all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saltrust.errors import DataError
from saltrust.reading import shown

#: Largest height or width that a network is trained at; `grid` of a study has 4,096.
_MOST_PIXELS = 65_536
#: Outputs of a network, each with a name.
_MOST_OUTPUTS = 100_000


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_whole(value) and 0 < value <= _MOST_PIXELS


def _is_grid(value: Any) -> bool:
    return _is_size(value) or (isinstance(value, list) and len(value) == 2
                               and all(map(_is_size, value)))


def _is_names(value: Any) -> bool:
    return (isinstance(value, list) and 0 < len(value) <= _MOST_OUTPUTS
            and all(isinstance(name, str) for name in value))


def _is_output(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        key not in value or isinstance(value[key], kinds) for key, kinds in
        (("kind", str), ("findings", list | tuple), ("select", str | int | None))) and (
            not value.get("findings") or _is_names(list(value["findings"])))


def _is_guidance(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("loss", ""), str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**63


#: What each field that is read holds, in words and as a test; others are nobody's business.
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "findings": ("the names of the model's outputs in order, such as [\"Edema\"]", _is_names),
    "architecture": ("a name, such as \"densenet121\"", lambda value: isinstance(value, str)),
    "arguments": ("an object of keywords for the architecture",
                  lambda value: isinstance(value, Mapping)),
    "preprocessing": ("an object with mean, std, channels and range",
                      lambda value: value is None or isinstance(value, Mapping)),
    "output": ("an object of kind, findings and select", lambda value: value is None
               or _is_output(value)),
    "grid": (f"one or two whole numbers of at most {_MOST_PIXELS:,}", _is_grid),
    "seed": ("a whole number", lambda value: _is_whole(value) and _is_number(value)),
    "complete": ("true or false", lambda value: isinstance(value, bool)),
    "guidance": ("an object whose `loss` is a word", _is_guidance),
    "weights_sha256": ("a text of 64 hexadecimal digits", lambda value: isinstance(value, str)),
    "versions": ("an object", lambda value: isinstance(value, Mapping)),
    "score": ("a number", lambda value: value is None or _is_number(value)),
    "val_loss": ("a number", lambda value: value is None or _is_number(value)),
}


def check_fields(card: Any, what: str) -> dict[str, Any]:
    """Refuse a card that is no object, or a field of which is of another type or absurd.

    Parameters
    ----------
    card : object
        As JSON gives it.
    what : str
        The card and its file, for the sentence.

    Returns
    -------
    dict
        ``card``.

    Raises
    ------
    DataError
        Names the field, what it holds and what it has to hold.

    Examples
    --------
    >>> check_fields({"grid": "big"}, "card a.json")
    Traceback (most recent call last):
    saltrust.errors.DataError: card a.json must have `grid`, one or two whole numbers of at most
    65,536, not 'big'; correct it
    """
    if not isinstance(card, dict):
        raise DataError(f"{what} must hold one JSON object")
    for name, (words, fits) in _FIELDS.items():
        if name in card and not fits(card[name]):
            raise DataError(f"{what} must have `{name}`, {words}, not {shown(card[name])}; "
                            "correct it")
    return card
