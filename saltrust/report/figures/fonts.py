"""Fonts that have the letters of a figure's texts, whatever their script.

Matplotlib draws a letter in the first font of a list that has it.  The list is that of the
figure, then the installed fonts that have what it lacks, then those of the extra ``fonts``.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager

_log = logging.getLogger(__name__)

#: What comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian and marks.
BASE = "DejaVu Sans"
#: Families that are tried before others: plain, and of many letters.
_PREFERRED = (BASE, "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC",
              "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans", "Source Han Sans SC",
              "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC",
              "Arial Unicode MS", "SimHei", "Noto Emoji", "Symbola")
#: Families whose letters are no letters.
_NO_LETTERS = ("last resort", "mathjax", "stix", "cm", "glyphicons", "barcode")
#: Debian's package for a script, by the first word of the names of its letters; and what the
#: sentence calls it where that is not the script.
_EAST_ASIA = "Chinese, Japanese and Korean"
_PACKAGES = {**dict.fromkeys(("Cjk", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Fullwidth",
                              "Halfwidth", "Ideographic", "Kangxi"), "fonts-noto-cjk"),
             **dict.fromkeys(("Devanagari", "Thai"), "fonts-noto-core")}
_OTHERS, _SYMBOLS = "fonts-noto-core", "fonts-symbola"
#: Scripts that the extra ``fonts`` has.
_IN_EXTRA = frozenset(_PACKAGES)
#: Scripts whose letters change with their neighbors; those from right to left are known by that.
_JOINED = {"Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada",
           "Malayalam", "Sinhala", "Khmer", "Myanmar", "Tibetan", "Thai", "Lao"}
_JOINS_SINCE = (3, 11)


@dataclass(frozen=True)
class Font:
    """A font that may be taken.

    Attributes
    ----------
    family : str
    letters : callable
        Code points that it has; read when asked for.
    """

    family: str
    letters: Callable[[], Collection[int]]


def letters_of(texts: Iterable[str]) -> set[str]:
    r"""Characters of texts that a font has to have: no spaces, controls or selectors.

    Examples
    --------
    >>> sorted(letters_of(["a b", "b\n"]))
    ['a', 'b']
    """
    return {letter for text in texts for letter in text
            if unicodedata.category(letter)[0] not in "CZ"
            and not 0xFE00 <= ord(letter) <= 0xFE0F}


def choose(letters: Collection[str], fonts: Iterable[Font]) -> tuple[list[str], set[str]]:
    """Fonts that have the letters, in the order in which they are offered.

    Parameters
    ----------
    letters : collection of str
    fonts : iterable of Font
        Looked at as long as a letter is missing.

    Returns
    -------
    families : list of str
        Those that have a letter which none before them has.
    missing : set of str
        Letters that none has.

    Examples
    --------
    >>> choose("ab", [Font("one", lambda: {97}), Font("two", lambda: {97, 98})])
    (['one', 'two'], set())
    """
    missing, families = set(letters), list[str]()
    for font in fonts:
        if not missing:
            break
        known = font.letters()
        if having := {letter for letter in missing if ord(letter) in known}:
            families.append(font.family)
            missing -= having
    return families, missing


def families_for(letters: Collection[str], families: Sequence[str]) -> tuple[list[str], set[str]]:
    """The fonts that a figure needs beside its own, and the letters that stay without one.

    Parameters
    ----------
    letters : collection of str
    families : sequence of str
        The figure's own.
    """
    first = font_manager.findfont(font_manager.FontProperties(family=list(families)))
    _, missing = choose(letters, [Font("", lambda: _letters_in(first))])
    if not missing:
        return [], set()
    return choose(missing, _installed())


def sentences(missing: Collection[str], letters: Collection[str], *,
              version: Sequence[int] | None = None) -> list[str]:
    """What to install: a sentence for every group of scripts that figures cannot show.

    Parameters
    ----------
    missing : collection of str
        Letters that no font has.
    letters : collection of str
        All letters, of which some may have to be joined or turned.
    version : sequence of int, optional
        Of matplotlib; by default of the one that is there.
    """
    groups: dict[str, set[str]] = {}
    for letter in missing:
        groups.setdefault(_package(letter), set()).add(_script(letter))
    lines = []
    for package, scripts in sorted(groups.items()):
        names = {"fonts-noto-cjk": f"{_EAST_ASIA} letters", _SYMBOLS: "symbols or emoji"}.get(
            package, f"{', '.join(sorted(scripts))} letters")
        extra = ", or `pip install 'saltrust[fonts]'`" if scripts <= _IN_EXTRA else ""
        lines.append(f"no installed font has the {names} of the labels, so figures show boxes in "
                    f"their place; install one (Debian: `apt install {package}`{extra})")
    current = tuple(version or mpl.__version_info__[:2])
    if current < _JOINS_SINCE and (joined := {_script(letter) for letter in letters
                                               if _is_joined(letter)}):
        lines.append(f"matplotlib {current[0]}.{current[1]} draws letters of "
                    f"{', '.join(sorted(joined))} one by one and from left to right; "
                    "`pip install 'matplotlib>=3.11'` for figures that can be read")
    return lines


def warn(missing: Collection[str], letters: Collection[str]) -> None:
    """Say what to install, as a warning."""
    for sentence in sentences(missing, letters):
        _log.warning("%s", sentence)


def _script(letter: str) -> str:
    """First word of a letter's name, as a word; of symbols and emoji ``symbol``."""
    if unicodedata.category(letter)[0] == "S":
        return "symbol"
    return unicodedata.name(letter, "unnamed").split()[0].split("-")[0].capitalize()


def _package(letter: str) -> str:
    script = _script(letter)
    return _SYMBOLS if script == "symbol" else _PACKAGES.get(script, _OTHERS)


def _is_joined(letter: str) -> bool:
    return unicodedata.bidirectional(letter) in ("R", "AL") or _script(letter) in _JOINED


def _installed() -> Iterator[Font]:
    """Fonts that matplotlib knows, those that were installed since, those of the extra."""
    seen: set[str] = set()
    for more in (list, _new_fonts, _packaged_fonts):
        for path in more():
            _add(str(path))
        entries = [entry for entry in font_manager.fontManager.ttflist
                   if entry.style == "normal" and entry.fname not in seen
                   and not entry.name.lower().startswith(_NO_LETTERS)]
        seen |= {entry.fname for entry in entries}
        # Of a family the weight nearest to that of the texts, whose letters are looked for.
        entries.sort(key=lambda entry: (
            _PREFERRED.index(entry.name) if entry.name in _PREFERRED else len(_PREFERRED),
            entry.name, abs(_weight(entry) - 400)))
        first = {entry.name: entry.fname for entry in reversed(entries)}
        for name in dict.fromkeys(entry.name for entry in entries):
            yield Font(name, lambda path=first[name]: _letters_in(path))  # type: ignore[misc]


def _weight(entry: font_manager.FontEntry) -> int:
    weight = entry.weight
    return weight if isinstance(weight, int) else font_manager.weight_dict.get(weight, 400)


def _new_fonts() -> list[str]:
    """Matplotlib keeps a list of what was installed when it was first used."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    return [path for path in font_manager.findSystemFonts() if path not in known]


def _packaged_fonts() -> list[Path]:
    """Fonts of packages that bring some: mplfonts, and those of fontpkg."""
    modules = ["mplfonts", *(entry.value for entry in entry_points(group="fontpkg.family"))]
    folders = [Path(folder) for module in modules
               for spec in [find_spec(module.partition(":")[0])] if spec is not None
               for folder in spec.submodule_search_locations or ()]
    return [path for folder in folders for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in (".ttf", ".otf", ".ttc")]


@cache
def _add(path: str) -> None:
    """Make a font known to matplotlib; one that it cannot read is passed over."""
    try:
        font_manager.fontManager.addfont(path)
    except (OSError, RuntimeError, ValueError) as error:
        _log.debug("the font %s cannot be read (%s)", path, error)


@cache
def _letters_in(path: str) -> frozenset[int]:
    """Code points that a font file has; none of one that cannot be read."""
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError) as error:
        _log.debug("the font %s cannot be read (%s)", path, error)
        return frozenset()
