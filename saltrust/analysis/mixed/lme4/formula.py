"""Formulas that lme4 gets as they are written, checked token by token before R sees them.

R evaluates what stands in a formula.  Nothing but names of columns, numbers, arithmetic and the
functions listed here gets through, and columns go under names of our own, so that no text of a
user can call anything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from saltrust.analysis.mixed.formula import MOST_CHARACTERS
from saltrust.errors import UsageError
from saltrust.reading import shown

#: Functions of R that a formula may call.
CALLS = ("I", "log", "log10", "log2", "log1p", "exp", "sqrt", "abs", "poly", "scale", "offset",
         "factor")
Token = tuple[str, str]

_ARGUMENTS = ("raw", "degree", "center", "scale", "base")
_WORDS = ("TRUE", "FALSE")
#: Of a formula as R takes it: (a + b)^9 of nine factors is all their interactions.
MOST_POWER = 9
MOST_TOKENS = 2000

_TOKEN = re.compile(r"\s*(?:`([^`]+)`|([^\W\d][\w.]*)|(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)"
                    r"|(\|\||[~+*:/|()^,=\-]))")


@dataclass(frozen=True)
class VerbatimFormula:
    """A formula for lme4.

    Attributes
    ----------
    text : str
        As given, stripped.
    r_text : str
        The same with columns named ``v0``, ``v1``, ..., the response's first.
    columns : tuple of str
        Columns in the order of these names.
    responses : frozenset of str
        Columns left of the tilde.
    grouping : frozenset of str
        Columns right of a bar, which are categorical.
    categorical : frozenset of str
        Columns written ``factor(name)``.
    fixed : tuple of str
        Columns that stand outside of random effects, right of the tilde.
    """

    text: str
    r_text: str
    columns: tuple[str, ...]
    responses: frozenset[str]
    grouping: frozenset[str]
    categorical: frozenset[str]
    fixed: tuple[str, ...]

    def renamed(self, column: str) -> str:
        """What R calls a column."""
        return f"v{self.columns.index(column)}"


def parse_verbatim(text: str) -> VerbatimFormula:
    """Check a formula for lme4.

    Parameters
    ----------
    text : str
        ``response ~ fixed effects + (random effects|group)`` in R's notation.

    Returns
    -------
    VerbatimFormula

    Raises
    ------
    UsageError
        If it holds anything but columns, numbers, arithmetic and the functions of ``CALLS``.

    Examples
    --------
    >>> parse_verbatim("log(y) ~ poly(age, 2) + (1 + dose||image)").r_text
    'log ( v0 ) ~ poly ( v1 , 2 ) + ( 1 + v2 || v3 )'
    """
    return _Checker(text.strip()).formula()


class _Checker:
    """One pass over the tokens of a formula."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.random = self._random_effects()
        self.columns: dict[str, None] = {}
        self.responses: set[str] = set()
        self.grouping: set[str] = set()
        self.categorical: set[str] = set()
        self.fixed: dict[str, None] = {}
        #: Of every open parenthesis the function called; "|" where a bar stood in it.
        self.calls: list[str] = []
        self.right = False

    def _refusal(self, what: str) -> UsageError:
        return UsageError(f"formula {shown(self.text)}: {what}; lme4 is given columns, numbers, "
                          f"arithmetic, (effects|group) and {', '.join(CALLS)}: add anything "
                          "else as a column of the table")

    def _tokens(self) -> list[Token]:
        text = self.text
        if len(text) > MOST_CHARACTERS:
            raise self._refusal(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
        tokens, end = list[Token](), 0
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                raise self._refusal(f"{text[end:].strip()[:1]!r} has no meaning here")
            quoted, name, number, symbol = match.groups()
            tokens.append(("quoted", quoted) if quoted else ("name", name) if name else
                          ("number", number) if number else ("symbol", symbol))
            end = match.end()
        if len(tokens) > MOST_TOKENS:
            raise self._refusal(f"it has {len(tokens):,} parts, more than {MOST_TOKENS:,}")
        return tokens

    def _random_effects(self) -> set[int]:
        """Places of the tokens in outermost parentheses that hold a bar."""
        places: set[int] = set()
        start, depth = 0, 0
        for place, token in enumerate(self.tokens):
            if token == ("symbol", "("):
                start = place if depth == 0 else start
                depth += 1
            elif token == ("symbol", ")"):
                depth -= 1
                if depth < 0:
                    raise self._refusal("')' closes nothing")
                inside = self.tokens[start:place]
                if depth == 0 and (("symbol", "|") in inside or ("symbol", "||") in inside):
                    places.update(range(start, place + 1))
        if depth:
            raise self._refusal("a parenthesis is not closed")
        return places

    def formula(self) -> VerbatimFormula:
        """The formula, all its tokens checked."""
        if self.tokens.count(("symbol", "~")) != 1:
            raise self._refusal("it needs one '~', between the response and the effects")
        if not self.random:
            raise self._refusal("it has no random effect such as (1|group)")
        words = [self._word(place, *token) for place, token in enumerate(self.tokens)]
        if not self.responses:
            raise self._refusal("it has no response")
        return VerbatimFormula(self.text, " ".join(words), tuple(self.columns),
                               frozenset(self.responses), frozenset(self.grouping),
                               frozenset(self.categorical), tuple(self.fixed))

    def _word(self, place: int, kind: str, word: str) -> str:
        """What R is given of a token."""
        following = self.tokens[place + 1] if place + 1 < len(self.tokens) else ("end", "")
        if kind == "symbol":
            self._symbol(place, word, following)
        elif kind == "name" and following == ("symbol", "("):
            if word not in CALLS:
                raise self._refusal(f"{word}(...) is no function that a formula may call")
        elif kind == "name" and following == ("symbol", "="):
            if word not in _ARGUMENTS:
                raise self._refusal(f"{word} is no argument of these functions")
        elif kind == "quoted" or (kind == "name" and word not in _WORDS):
            return self._column(place, word)
        return word

    def _symbol(self, place: int, word: str, following: Token) -> None:
        if word == "(":
            kind, name = self.tokens[place - 1] if place else ("end", "")
            self.calls.append(name if kind == "name" else "")
        elif word == ")":
            self.calls.pop()
        elif word == "~":
            if self.calls:
                raise self._refusal("'~' stands in parentheses")
            self.right = True
        elif word in {"|", "||"}:
            if not self.right or self.calls != [""]:
                raise self._refusal(f"'{word}' stands outside of (effects|group)")
            self.calls[-1] = "|"
        elif word in {",", "="} and not (self.calls and self.calls[-1] in CALLS):
            raise self._refusal(f"'{word}' stands outside of a function")
        elif word == "^" and not (following[0] == "number" and following[1].isdigit()
                                  and int(following[1]) <= MOST_POWER):
            raise self._refusal(f"'^' takes whole numbers up to {MOST_POWER}")

    def _column(self, place: int, word: str) -> str:
        self.columns.setdefault(word)
        if not self.right:
            self.responses.add(word)
        elif "|" in self.calls:
            self.grouping.add(word)
        elif place not in self.random:
            self.fixed.setdefault(word)
        if self.calls and self.calls[-1] == "factor":
            self.categorical.add(word)
        return f"v{list(self.columns).index(word)}"
