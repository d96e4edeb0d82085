"""Labels of any script: fonts that have their letters, or a sentence on what to install."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from saltrust.report.figures import fonts
from saltrust.report.figures.fonts import BASE, Font, choose, families_for, letters_of, sentences
from saltrust.report.figures.literal import new_figure
from saltrust.report.figures.palette import to_data_uri

CHINESE, ARABIC = "\u80ba\u708e", "\u0627\u0646\u0635\u0628\u0627\u0628"
GREEK, CYRILLIC = "\u03a0\u03bd\u03b5\u03cd\u03bc\u03c9\u03bd", "\u041b\u0451\u0433\u043a\u0438"
HEBREW = "\u05e9\u05dc\u05d5\u05dd"


def font(family: str, letters: str) -> Font:
    return Font(family, lambda: set(map(ord, letters)))


def labeled(*labels: str) -> Figure:
    """A figure with labels of ticks, which are no texts before it is drawn."""
    figure = new_figure(2, 3)
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title(labels[0])
    return figure


@pytest.fixture
def only_matplotlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine on which nothing but matplotlib's own fonts is installed."""
    folder = font_manager.cbook._get_data_path()
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist
                                             if entry.fname.startswith(str(folder))])
    monkeypatch.setattr(fonts, "_new_fonts", list)
    monkeypatch.setattr(fonts, "_packaged_fonts", list)
    yield monkeypatch
    manager._findfont_cached.cache_clear()


@pytest.fixture
def chinese_font(tmp_path: Path) -> Path:
    """A font of two Chinese letters, both a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", "first", "second"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, CHINESE), names[1:], strict=True)))
    square = pen.glyph()
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Two Letters", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "two.ttf"
    builder.save(path)
    return path


def test_fonts_are_taken_as_long_as_a_letter_is_missing() -> None:
    offered = [font("latin", "abc"), font("nothing", ""), font("chinese", CHINESE + "a"),
               font("everything", "abc" + CHINESE + ARABIC)]
    assert choose("abc", offered) == (["latin"], set())
    assert choose("ab" + CHINESE, offered) == (["latin", "chinese"], set())
    assert choose("a" + CHINESE[0] + ARABIC[0] + "\u0e01", offered) == (
        ["latin", "chinese", "everything"], {"\u0e01"})
    assert choose("", offered) == ([], set())


def test_letters_that_are_looked_for() -> None:
    assert letters_of(["a \u200d\ufe0fb\n", "\u00a0a"]) == {"a", "b"}


@pytest.mark.parametrize("text", [GREEK, CYRILLIC, ARABIC, HEBREW, "na\u00efve"])
def test_what_matplotlibs_font_has_needs_no_other(text: str) -> None:
    assert families_for(letters_of([text]), [BASE]) == ([], set())


@pytest.mark.parametrize(("text", "words"), [
    (CHINESE, ("Chinese, Japanese and Korean", "fonts-noto-cjk", "saltrust[fonts]")),
    ("\ud55c\uae00\u304b\u30ab", ("Chinese, Japanese and Korean", "fonts-noto-cjk")),
    ("\u0e44\u0e17\u0e22\u0939", ("Devanagari, Thai", "fonts-noto-core", "saltrust[fonts]")),
    ("\u1780", ("Khmer", "fonts-noto-core")), ("\U0001fac1", ("emoji", "fonts-symbola"))])
def test_the_sentence_says_what_to_install(text: str, words: tuple[str, ...]) -> None:
    (sentence,) = sentences(set(text), set(text), version=(3, 11))
    for word in words:
        assert word in sentence
    assert ("saltrust[fonts]" in sentence) is not (text in "\u1780\U0001fac1")


@pytest.mark.parametrize(("text", "script"), [(ARABIC, "Arabic"), ("\u05e9", "Hebrew"),
                                              ("\u0939", "Devanagari")])
def test_letters_that_are_joined_or_turned_need_a_newer_matplotlib(text: str, script: str) -> None:
    (sentence,) = sentences((), set(text), version=(3, 10))
    assert script in sentence
    assert "matplotlib>=3.11" in sentence
    assert sentences((), set(text), version=(3, 11)) == []
    assert sentences((), set(GREEK + CYRILLIC), version=(3, 10)) == []


@pytest.mark.usefixtures("only_matplotlib")
def test_boxes_are_said_once_a_figure(caplog: pytest.LogCaptureFixture) -> None:
    figure = labeled("Edema", CHINESE)
    with caplog.at_level(logging.WARNING, "saltrust"):
        for _ in range(2):
            figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert len(caplog.messages) == 1
    assert "fonts-noto-cjk" in caplog.messages[0]


@pytest.mark.usefixtures("only_matplotlib")
def test_a_page_has_the_browsers_fonts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "saltrust"):
        assert to_data_uri(labeled("Edema", CHINESE)).startswith("data:image/svg")
    assert caplog.messages == []


def test_a_font_of_the_extra_is_taken(only_matplotlib: pytest.MonkeyPatch, chinese_font: Path,
                                      caplog: pytest.LogCaptureFixture) -> None:
    only_matplotlib.setattr(fonts, "_packaged_fonts", lambda: [chinese_font])
    figure = labeled("Edema " + CHINESE, CHINESE)
    with caplog.at_level(logging.WARNING, "saltrust"):
        figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert caplog.messages == []
    axes = figure.axes[0]
    for text in (axes.title, *axes.get_yticklabels()):
        assert text.get_fontfamily()[-1] == "Two Letters"


def test_a_font_that_cannot_be_read_is_passed_over(only_matplotlib: pytest.MonkeyPatch,
                                                   tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    only_matplotlib.setattr(fonts, "_packaged_fonts", lambda: [broken])
    assert families_for({CHINESE[0]}, [BASE]) == ([], {CHINESE[0]})


def test_figures_without_such_letters_are_drawn_as_before() -> None:
    figure = labeled("Edema", GREEK)
    before = figure.axes[0].title.get_fontfamily()
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert figure.axes[0].title.get_fontfamily() == before
