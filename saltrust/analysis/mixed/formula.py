"""Formulas of linear mixed models, such as ``auprc ~ explainer + (1|image)``, as in lme4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from saltrust.errors import UsageError
from saltrust.reading import shown

Term = tuple[str, ...]


class NamesColumns(Protocol):
    """A formula, whoever fits it."""

    @property
    def text(self) -> str:
        """As given."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it names."""
        ...

    @property
    def fixed(self) -> tuple[str, ...]:
        """Columns of the fixed effects."""
        ...

#: Fixed effects with their interactions: all of eight factors are 255.
MOST_TERMS = 1000
#: Random intercepts; the likelihood is searched along each.
MOST_GROUPINGS = 20
#: Of a formula; every name is looked for among all others.
MOST_CHARACTERS = 20_000

_TOKEN = re.compile(r"\s*(?:`([^`]+)`|([^\W\d][\w.]*)|(\d+)|([~+*:/|()\-]))")
_HOW = ("write it like 'auprc ~ explainer + (1|image)': names of columns joined by +, * or :, "
        "(1|group), (1|a/b) or (1|a:b) for random intercepts, and (1 + x|group) or (1 + x||group) "
        "for random slopes")


@dataclass(frozen=True)
class Grouping:
    """One random term: an intercept, slopes, or both, which correlate.

    Attributes
    ----------
    name : str
        As lme4 names it: ``image``, ``a:b`` for ``(1|a:b)``, ``b:a`` for the inner of
        ``(1|a/b)``.
    variables : tuple of str
        Columns whose combinations are the groups.
    slopes : tuple of str
        Columns whose effects differ between the groups.
    intercept : bool
        Whether the groups differ at zero too.
    """

    name: str
    variables: tuple[str, ...]
    slopes: tuple[str, ...] = ()
    intercept: bool = True


@dataclass(frozen=True)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    text : str
        As given, stripped.
    response : str
        Column of the response.
    intercept : bool
        Whether the fixed effects have one.
    terms : tuple of tuple of str
        Fixed effects: main effects first, then interactions by order, as R sorts them; the
        variables of each in the order in which the formula first names them.
    categorical : frozenset of str
        Columns written ``factor(name)``.
    groupings : tuple of Grouping
        Random terms in the order written; ``(1 + x||g)`` is two of them.
    """

    text: str
    response: str
    intercept: bool
    terms: tuple[Term, ...]
    categorical: frozenset[str]
    groupings: tuple[Grouping, ...]

    @property
    def fixed(self) -> tuple[str, ...]:
        """Columns of the fixed effects, in the order in which the formula names them."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the model needs, the response first."""
        grouped = (name for grouping in self.groupings
                   for name in (*grouping.slopes, *grouping.variables))
        return tuple(dict.fromkeys([self.response, *self.fixed, *grouped]))

    def label(self, variable: str) -> str:
        """The name of a column as it stands in the names of coefficients.

        Examples
        --------
        >>> parse("y ~ factor(day) + (1|image)").label("day")
        'factor(day)'
        """
        return f"factor({variable})" if variable in self.categorical else variable


def parse(text: str) -> Formula:
    """Parse a formula.

    Parameters
    ----------
    text : str
        ``response ~ fixed effects + (1|group)``.  Fixed effects are joined by ``+``; ``a:b``
        is an interaction and ``a*b`` short for ``a + b + a:b``; ``factor(x)`` makes a column
        of numbers categorical; ``0 +`` or ``- 1`` drops the intercept.  ``(1|a/b)`` is short
        for ``(1|a) + (1|a:b)``; ``(1 + x|g)`` has slopes that correlate with the intercepts,
        ``(1 + x||g)`` slopes that do not.  Names that are not plain words stand in backticks.

    Returns
    -------
    Formula

    Raises
    ------
    UsageError
        If the text is no such formula, or has no random term.

    Examples
    --------
    >>> formula = parse("auprc ~ explainer * model + (1|patient/image)")
    >>> formula.terms
    (('explainer',), ('model',), ('explainer', 'model'))
    >>> [(grouping.name, grouping.variables) for grouping in formula.groupings]
    [('image:patient', ('patient', 'image')), ('patient', ('patient',))]
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"formula {shown(text, 60)} has {len(text):,} characters, more than the "
                         f"{MOST_CHARACTERS:,} that a model may need; {_HOW}")
    return _Parser(text).formula()


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.tokens = self._tokens()
        self.place = 0
        self.intercept = True
        self.products: list[list[Term]] = []
        self.categorical: set[str] = set()
        self.plain: set[str] = set()
        self.groupings: list[Grouping] = []

    def _error(self, what: str) -> UsageError:
        return UsageError(f"formula {shown(self.text)}: {what}; {_HOW}")

    def _tokens(self) -> list[tuple[str, str]]:
        tokens, end = [], 0
        while end < len(self.text):
            match = _TOKEN.match(self.text, end)
            if match is None:
                raise self._error(f"{self.text[end:].strip()[:1]!r} has no meaning here")
            quoted, name, number, symbol = match.groups()
            tokens.append(("name", quoted or name) if quoted or name else
                          ("number", number) if number else ("symbol", symbol))
            end = match.end()
        return tokens

    def _peek(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place][1] if place < len(self.tokens) else ""

    def _kind(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place][0] if place < len(self.tokens) else "end"

    def _take(self, symbol: str) -> bool:
        if self._kind() == "symbol" and self._peek() == symbol:
            self.place += 1
            return True
        return False

    def _expect(self, symbol: str) -> None:
        if not self._take(symbol):
            raise self._error(f"{symbol!r} is missing before {self._peek()!r}" if self._peek()
                              else f"{symbol!r} is missing at the end")

    def _name(self) -> str:
        if self._kind() != "name":
            raise self._error(f"a column name is missing before {self._peek()!r}" if self._peek()
                              else "a column name is missing at the end")
        self.place += 1
        return self.tokens[self.place - 1][1]

    def formula(self) -> Formula:
        response = self._name()
        if self._kind() == "symbol" and self._peek() == "(":
            raise self._error(f"{response}(...) cannot be computed here; add its values as a "
                              "column of the table")
        self._expect("~")
        self._summand(removed=self._take("-"))
        while self.place < len(self.tokens):
            removed = self._take("-")
            if not removed:
                self._expect("+")
            self._summand(removed=removed)
        if not self.groupings:
            raise self._error("there is no random intercept; the nearest that is accepted is "
                              f"{shown(self.text + ' + (1|image)', 200)}, with your grouping")
        if twice := self.plain & self.categorical:
            raise self._error(f"{min(twice)} stands both with and without factor()")
        terms = self._ordered_terms()
        if any(response in term for term in terms):
            raise self._error(f"the response {response} is also an effect")
        if any(response in grouping.variables for grouping in self.groupings):
            raise self._error(f"the response {response} is also a grouping factor")
        if any(response in grouping.slopes for grouping in self.groupings):
            raise self._error(f"the response {response} is also a random slope")
        if not terms and not self.intercept:
            raise self._error("there is no fixed effect, not even an intercept")
        return Formula(self.text, response, self.intercept, terms, frozenset(self.categorical),
                       tuple(self.groupings))

    def _summand(self, *, removed: bool) -> None:
        if self._kind() == "number":
            number = self._peek()
            self.place += 1
            if number not in {"0", "1"} or (removed and number == "0"):
                raise self._error(f"the number {number} has no meaning here")
            self.intercept = number == "1" and not removed
        elif removed:
            raise self._error("only the intercept can be taken out, by '- 1'")
        elif self._take("("):
            self._random()
        else:
            self.products.append(self._product())

    def _product(self) -> list[Term]:
        operands = [self._interaction()]
        while self._take("*"):
            operands.append(self._interaction())
        terms = 2**min(len(operands), 64) - 1
        if terms > MOST_TERMS:
            raise self._error(f"a product of {len(operands)} effects has {terms:,} terms, more "
                              f"than the {MOST_TERMS:,} that a model may have")
        if self._kind() == "symbol" and self._peek() == "/":
            raise self._error("'/' nests grouping factors only")
        return [tuple(dict.fromkeys(name for operand in chosen for name in operand))
                for size in range(1, len(operands) + 1)
                for chosen in combinations(operands, size)]

    def _interaction(self) -> Term:
        names = [self._variable()]
        while self._take(":"):
            names.append(self._variable())
        return tuple(dict.fromkeys(names))

    def _variable(self) -> str:
        name = self._name()
        if not self._take("("):
            self.plain.add(name)
            return name
        if name != "factor":
            raise self._error(f"{name}(...) cannot be computed here; add its values as a column "
                              "of the table")
        name = self._name()
        self._expect(")")
        self.categorical.add(name)
        return name

    def _random(self) -> None:
        intercept, slopes = self._random_effects()
        correlated = not self._take("|")
        path = [self._path_step()]
        while self._take("/"):
            path.append(self._path_step())
        if len(path) + len(self.groupings) > MOST_GROUPINGS:
            raise self._error(f"it has more than {MOST_GROUPINGS} random intercepts")
        if not self._take(")"):
            groups = "/".join(step for step, _ in path)
            raise self._error(f"')' is missing {self._before()}; the nearest that is accepted is "
                              f"(1|{groups})")
        name, variables = path[0][0], path[0][1]
        nested = [(name, variables)]
        for inner, more in path[1:]:
            # lme4 puts the innermost factor first and keeps the outer ones together.
            name = f"{inner}:({name})" if ":" in name else f"{inner}:{name}"
            variables = tuple(dict.fromkeys([*variables, *more]))
            nested.insert(0, (name, variables))
        for name, variables in nested:
            if correlated:
                self._add(Grouping(name, variables, slopes, intercept))
                continue
            if intercept:
                self._add(Grouping(name, variables))
            for slope in slopes:
                self._add(Grouping(name, variables, (slope,), intercept=False))

    def _random_effects(self) -> tuple[bool, tuple[str, ...]]:
        """What stands before the bar: whether there is an intercept, and the slopes."""
        intercept, slopes = True, list[str]()
        removed = self._take("-")
        while True:
            if self._kind() == "number" and self._peek() in {"0", "1"}:
                intercept = self._peek() == "1" and not removed
                self.place += 1
            elif self._kind() == "name" and not removed:
                slopes.append(self._variable())
            else:
                raise self._error(f"a column or 1 is missing {self._before()} in the parentheses, "
                                  "which hold a random intercept (1|group) or slopes "
                                  "(1 + x|group)")
            if self._take("|"):
                break
            removed = self._take("-")
            if not removed and not self._take("+"):
                example = f"(1 + {slopes[0] if slopes else 'x'}|group)"
                raise self._error(f"random slopes are of single columns, joined by +, not by "
                                  f"{self._peek()!r}: the nearest that is accepted is {example}; "
                                  "make a column of a product or power")
        if not intercept and not slopes:
            raise self._error("a random term without intercept and slope has no effect; write "
                              "(1|group)")
        return intercept, tuple(dict.fromkeys(slopes))

    def _before(self) -> str:
        return f"before {self._peek()!r}" if self._peek() else "at the end"

    def _add(self, grouping: Grouping) -> None:
        """Add a term, which no other of the same groups may share an effect with."""
        alike = [other for other in self.groupings
                 if set(other.variables) == set(grouping.variables)]
        for other in alike:
            slopes = " + ".join(grouping.slopes or other.slopes)
            if other.intercept and grouping.intercept:
                raise self._error(
                    f"the grouping {grouping.name} stands twice with an intercept"
                    + (f"; the nearest that are accepted are (1 + {slopes}|{grouping.name}) alone, "
                       f"or (0 + {slopes}|{grouping.name}) beside (1|{grouping.name})"
                       if slopes else ""))
            if both := set(other.slopes) & set(grouping.slopes):
                raise self._error(f"the slope {min(both)} of {grouping.name} stands twice")
        name = grouping.name + (f".{len(alike)}" if alike else "")
        self.groupings.append(Grouping(name, grouping.variables, grouping.slopes,
                                       grouping.intercept))

    def _path_step(self) -> tuple[str, tuple[str, ...]]:
        names = [self._name()]
        while self._take(":"):
            names.append(self._name())
        return ":".join(names), tuple(names)

    def _ordered_terms(self) -> tuple[Term, ...]:
        if sum(map(len, self.products)) > MOST_TERMS:
            raise self._error(f"it has {sum(map(len, self.products)):,} terms, more than the "
                              f"{MOST_TERMS:,} that a model may have")
        names = dict.fromkeys(name for product in self.products for term in product
                              for name in term)
        order = {name: place for place, name in enumerate(names)}
        distinct = dict.fromkeys(tuple(sorted(term, key=order.__getitem__))
                                 for product in self.products for term in product)
        return tuple(sorted(distinct, key=len))
