"""What of a formula reaches R, and what does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltrust.analysis.mixed.lme4.formula import CALLS, parse_verbatim
from saltrust.errors import UsageError


@pytest.mark.parametrize(("text", "r_text"), [
    ("y ~ e + (1 + x|g)", "v0 ~ v1 + ( 1 + v2 | v3 )"),
    ("y ~ e*I(x^2) + (x||g)", "v0 ~ v1 * I ( v2 ^ 2 ) + ( v2 || v3 )"),
    ("log(y) ~ poly(x, 2, raw = TRUE) - 1 + (1|a/b)",
     "log ( v0 ) ~ poly ( v1 , 2 , raw = TRUE ) - 1 + ( 1 | v2 / v3 )"),
    ("`a b` ~ `system(1)` + offset(log(n)) + (1|g:h)",
     "v0 ~ v1 + offset ( log ( v2 ) ) + ( 1 | v3 : v4 )"),
    ("y ~ (a + b)^2 + (0 + scale(x)|g)", "v0 ~ ( v1 + v2 ) ^ 2 + ( 0 + scale ( v3 ) | v4 )"),
])
def test_columns_get_names_of_ours(text: str, r_text: str) -> None:
    assert parse_verbatim(text).r_text == r_text


def test_columns_by_their_part() -> None:
    formula = parse_verbatim("y ~ (a + factor(b))^2 + (1 + x|g/h) + (1|a)")
    assert formula.fixed == ("a", "b")
    assert formula.grouping == {"g", "h", "a"}
    assert formula.categorical == {"b"}
    assert formula.responses == {"y"}


@pytest.mark.parametrize(("text", "words"), [
    ("y ~ system(x) + (1|g)", "system"), ("y ~ x + (1|eval(g))", "eval"),
    ("system(y) ~ x + (1|g)", "system"), ("y ~ I(base::system(x)) + (1|g)", "outside|no function"),
    ("y ~ system('ls') + (1|g)", "no meaning"), ('y ~ get("system")(x) + (1|g)', "no meaning"),
    ("y ~ x; quit() + (1|g)", "no meaning"), ("y ~ {x} + (1|g)", "no meaning"),
    ("y ~ x[1] + (1|g)", "no meaning"), ("y ~ x$y + (1|g)", "no meaning"),
    ("y ~ (function(x) x)(2) + (1|g)", "function"), ("y ~ x %in% z + (1|g)", "no meaning"),
    ("y ~ I(x <- 2) + (1|g)", "no meaning"), ("y ~ x = 2 + (1|g)", "argument"),
    ("y ~ poly(x, evil = 2) + (1|g)", "argument"), ("y ~ x^99999999 + (1|g)", "whole numbers"),
    ("y ~ x ~ z + (1|g)", "one '~'"), ("y ~ x", "random effect"), ("~ x + (1|g)", "response"),
    ("y ~ x + (1|g", "closed"), ("y ~ x) + (1|g)", "closes nothing"),
    ("y ~ I(x|g)", "outside of"), ("y ~ x | g + (1|g)", "outside of"),
    ("y ~ ((1|g))", "outside of"), ("y ~ (1|g|h)", "outside of"), ("y ~ `x", "no meaning"),
])
def test_anything_else_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_verbatim(text)


@given(st.text(alphabet="ygx10()|~+*^:/,=-. `'\"\\\n;{}[]$@!<>&%IlogpsytemfunciEval", max_size=60))
def test_no_text_gets_anything_else_through(text: str) -> None:
    """Whatever passes is made of our names, numbers, arithmetic and the functions listed."""
    try:
        formula = parse_verbatim(text)
    except UsageError:
        return
    for word in re.findall(r"[^\W\d]\w*", re.sub(r"\d+\.?\d*[eE][+-]?\d+", "", formula.r_text)):
        assert re.fullmatch(r"v\d+|TRUE|FALSE|raw|degree|center|scale|base", word) or word in CALLS
    assert not set(formula.r_text) & set("'\"`;{}[]$@!<>&%\\\n")
