"""How valid input is spoiled: values of other types and sizes, keys, bytes, cells."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

#: Texts that break what shows, stores or searches them.
NASTY_TEXTS = (
    "", " ", "\x00", "\x1b[2J\x1b]0;x\x07", "a\nb", "a\rb", "a\tb", "\x9b31m", "\u202egnp.exe",
    r"$\frac{a}{$", "$", "_^%&#~{}\\", "<script>alert(1)</script>", "'\"`", "=1+1", "+1",
    "-1", "@a", "../../etc/passwd", "/", ".", "..", "~", "~nobody_at_all", "a" * 300,
    "a" * 5000, "a/" * 3000, "\u80f8\u6c34", "\u0635\u062f\u0631",
    "\U0001f480", "e\u0301" * 50, "nan", "inf", "NA", "None", "true", "0", "*", "?", "[", "[a-",
    "**/*", "%s", "{0}", "{", "C:\\x", "con", "https://a.b/c", "1e400", "9" * 5000)
NASTY_NUMBERS = (
    0, -1, 1, 2, 16, 10**5, 2**31, 2**31 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -2**63,
    10**12, 99_999_999_999, 10**400, -10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("inf"),
    float("-inf"), float("nan"), 1.5, True, False)

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(max_size=12))
numbers = st.one_of(st.sampled_from(NASTY_NUMBERS), st.integers(), st.floats())
scalars = st.one_of(st.none(), texts, numbers, st.booleans())
values = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)), max_leaves=5)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the parts of a value of lists and dicts are."""
    inner = (value.items() if isinstance(value, dict) else
             enumerate(value) if isinstance(value, list) else ())
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


@st.composite
def spoiled(draw: st.DrawFn, valid: Any, others: st.SearchStrategy[Any] = values,
            most: int = 3) -> Any:
    """A value of lists and dicts with some parts replaced, left out, added or repeated."""
    value = copy.deepcopy(draw(valid) if isinstance(valid, st.SearchStrategy) else valid)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.sampled_from(places(value)))
        if not at:
            if draw(st.integers(0, 19)) == 0:
                return draw(others)
            continue
        inside = value
        for key in at[:-1]:
            inside = inside[key]
        how = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "repeat")))
        if how == "replace":
            inside[at[-1]] = draw(others)
        elif how == "remove":
            del inside[at[-1]]
        elif how == "repeat" and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[at[-1]]))
        elif isinstance(inside, dict):
            inside[draw(texts)] = draw(others)
        else:
            inside.insert(0, draw(others))
    return value


@st.composite
def flipped(draw: st.DrawFn, valid: bytes | st.SearchStrategy[bytes]) -> bytes:
    """Bytes with some flipped, a stretch cut out, doubled or overwritten, or the end missing."""
    content = bytearray(draw(valid) if isinstance(valid, st.SearchStrategy) else valid)
    for _ in range(draw(st.integers(1, 3))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        how = draw(st.sampled_from(("flip", "flip", "cut", "drop", "double", "write")))
        stretch = draw(st.integers(1, 64))
        if how == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[place:]
        elif how == "drop":
            del content[place:place + stretch]
        elif how == "double":
            content[place:place] = content[place:place + stretch]
        else:
            content[place:place + stretch] = draw(st.sampled_from(
                (b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b'"', b",", b"\n", b"\r",
                 b"[" * 64, b"9" * 64, b"\xef\xbb\xbf", b"\xff\xfe")))
    return bytes(content)


@st.composite
def csv_files(draw: st.DrawFn, valid: list[list[str]]) -> bytes:
    """A table as CSV with cells, rows and columns spoiled, or its bytes."""
    table = draw(spoiled(valid, st.one_of(texts, numbers.map(_written))))
    rows = table if isinstance(table, list) else [table]
    text = "\n".join(",".join(map(_cell, row)) if isinstance(row, list) else str(row)
                     for row in rows) + "\n"
    coding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")))
    content = text.encode(coding, "replace")
    return draw(st.one_of(st.just(content), st.just(content), flipped(content)))


def _cell(value: Any) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def _written(number: Any) -> str:
    try:
        return str(number)
    except ValueError:  # More digits than Python prints.
        return "9" * 5000
