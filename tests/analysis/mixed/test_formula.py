"""Formulas: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from saltrust.analysis.mixed.formula import Grouping, parse
from saltrust.errors import UsageError


def test_star_is_main_effects_and_interaction_sorted_by_order() -> None:
    formula = parse("y ~ a*b + c + (1|g)")
    assert formula.terms == (("a",), ("b",), ("c",), ("a", "b"))
    assert formula.intercept
    assert formula.columns == ("y", "a", "b", "c", "g")


def test_three_way_star_has_all_seven_terms_and_repeats_count_once() -> None:
    formula = parse("y ~ a*b*c + b + a:b + (1|g)")
    assert len(formula.terms) == 7
    assert formula.terms[-1] == ("a", "b", "c")


@pytest.mark.parametrize(("text", "groupings"), [
    ("(1|a)", [("a", ("a",))]),
    ("(1 | a:b)", [("a:b", ("a", "b"))]),
    ("(1|a/b)", [("b:a", ("a", "b")), ("a", ("a",))]),
    ("(1|a/b/c)", [("c:(b:a)", ("a", "b", "c")), ("b:a", ("a", "b")), ("a", ("a",))]),
    ("(1|a) + (1|b)", [("a", ("a",)), ("b", ("b",))]),
])
def test_random_intercepts_are_named_as_lme4_does(
        text: str, groupings: list[tuple[str, tuple[str, ...]]]) -> None:
    assert parse(f"y ~ 1 + {text}").groupings == tuple(Grouping(*pair) for pair in groupings)


def test_names_in_backticks_dots_and_other_scripts() -> None:
    formula = parse("`au prc` ~ größe + x.1 + factor(day) + (1|`image id`)")
    assert formula.columns == ("au prc", "größe", "x.1", "day", "image id")
    assert formula.categorical == {"day"}


@pytest.mark.parametrize("text", ["y ~ 0 + a + (1|g)", "y ~ a - 1 + (1|g)"])
def test_the_intercept_can_be_dropped(text: str) -> None:
    assert not parse(text).intercept


@pytest.mark.parametrize(("text", "reason"), [
    ("y ~ a", "no random intercept"),
    ("y ~ a + (a b|g)", "random slopes"),
    ("y ~ a + (1+a^2|g)", "no meaning"),
    ("y ~ a + (1|g", "missing at the end"),
    ("y ~ (1|g) + (1|g)", "stands twice"),
    ("y ~ (1|a/b) + (1|b:a)", "stands twice"),
    ("log(y) ~ a + (1|g)", "cannot be computed"),
    ("y ~ log(a) + (1|g)", "cannot be computed"),
    ("y ~ a ^ 2 + (1|g)", "has no meaning"),
    ("y ~ 2 + (1|g)", "has no meaning"),
    ("y ~ a - b + (1|g)", "only the intercept"),
    ("y ~ y + (1|g)", "also an effect"),
    ("y ~ a + (1|y)", "also a grouping"),
    ("y ~ 0 + (1|g)", "no fixed effect"),
    ("y ~ a/b + (1|g)", "nests grouping factors"),
    ("y ~ a + factor(a) + (1|g)", "with and without"),
    ("~ a + (1|g)", "column name is missing"),
    ("", "column name is missing"),
    ("y a + (1|g)", "'~' is missing"),
])
def test_other_formulas_are_refused_in_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
