"""The page: valid, self-contained, and true to the tables."""

from __future__ import annotations

import errno
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import xarray as xr

from saltrust.analysis.protocols.study import TOPICS, analyze_study
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import interval, significant
from saltrust.analysis.shape.regressions import table2
from saltrust.errors import DataError, UsageError
from saltrust.report.page.page import build, write_report
from saltrust.report.page.result_sections import AVERAGE

VOID = {"meta", "img", "br", "image", "path", "circle", "link", "hr", "input"}


class Page(HTMLParser):
    """Walks a page and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.pieces: list[str] = []
        self.images_without_alt = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if values.get(name):
                (self.links if tag == "a" else self.sources).append(str(values[name]))
        if tag == "img" and not values.get("alt"):
            self.images_without_alt += 1
        assert not any(name.startswith("on") for name in values), "no scripts"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.pieces))


@pytest.fixture(scope="module")
def document(cubes: xr.DataTree, analyses: dict[str, Result | str]) -> str:
    return build(cubes, title="Maps <of> a study & more", source="study.zarr", results=analyses,
                 seed=3)


@pytest.fixture(scope="module")
def page(document: str) -> Page:
    return Page(document)


@pytest.fixture(scope="module")
def plain_page(plain_cubes: xr.DataTree) -> Page:
    return Page(build(plain_cubes, title="Plain", source="plain.zarr",
                      results=analyze_study(plain_cubes)))


def result_of(analyses: dict[str, Result | str], topic: str) -> Result:
    result = analyses[topic]
    assert isinstance(result, Result)
    return result


def test_the_page_is_one_file_without_scripts_or_requests(document: str, page: Page) -> None:
    assert document.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object", "embed"} & page.tags
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    style = document.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert page.images_without_alt == 0
    assert len(document) < 5_000_000


def test_the_contents_lead_to_sections_that_exist_once(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert len(page.links) >= 10
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert set(TOPICS) | {"summary", "study", "predictions", "heatmaps", "gallery", "methods",
                          "provenance"} == set(page.ids)


def test_names_from_the_data_are_text_not_markup(document: str, page: Page) -> None:
    assert "Maps &lt;of&gt; a study &amp; more" in document
    assert "Edema & co" in page.text
    assert "Edema &amp; co" in document
    assert "saltrust generate <study>" in page.text
    assert "<study>" not in document


def test_headline_numbers_are_those_of_the_tables(page: Page,
                                                  analyses: dict[str, Result | str]) -> None:
    decrease = result_of(analyses, "localization").tables["decrease"]
    averages = decrease[decrease["finding"] == AVERAGE]
    assert len(averages) == 4
    summary = page.text.partition("In short")[2].partition("The study images")[0]
    for row in averages.to_dict("records"):
        assert f"{row['explainer']} {significant(row['saliency'])} " in summary
        assert f"expert {significant(row['expert'])};" in summary
        assert f"{significant(abs(row['estimate']))}%" in summary
        assert interval(row["conf_low"], row["conf_high"]) in summary
    assert "12 radiographs and 3 findings, with 24 positive labels" in summary
    assert "Flat or non-finite heatmaps: 1 of 72" in summary
    assert "Beware" not in summary


def test_every_mean_of_the_summary_is_in_the_page(page: Page,
                                                  analyses: dict[str, Result | str]) -> None:
    summary = result_of(analyses, "localization").tables["summary"]
    text = page.text.partition("Mean IoU and percentage decrease")[2].partition(
        "Shapes of the reference")[0]
    for row in summary.to_dict("records"):
        low_high = interval(row["conf_low"], row["conf_high"])
        assert f"{significant(row['estimate'])} {low_high}".removesuffix(" -") in text


def test_coefficients_and_their_stars_are_in_the_page(page: Page,
                                                      analyses: dict[str, Result | str]) -> None:
    result = result_of(analyses, "regressions")
    for cell in table2(result).to_numpy().ravel():
        assert str(cell) in page.text


def test_methods_state_definitions_and_provenance(page: Page,
                                                  analyses: dict[str, Result | str]) -> None:
    methods = page.text.rpartition("Methods and definitions")[2]
    meta = result_of(analyses, "localization").meta
    for value in (meta["meaning"], meta["slice_meaning"], str(meta["resamples"])):
        assert html.unescape(value) in methods
    assert 'saltrust generate <study> -o "study.zarr"' in methods


def test_the_same_cubes_give_the_same_page(document: str, cubes: xr.DataTree,
                                           analyses: dict[str, Result | str]) -> None:
    again = build(cubes, title="Maps <of> a study & more", source="study.zarr", results=analyses,
                  seed=3)
    assert again == document


def test_without_masks_the_page_says_why_and_shows_the_rest(plain_page: Page) -> None:
    assert plain_page.text.count("has no reference masks") == 5  # four sections, one summary
    assert "not available" in plain_page.text
    assert "AUC" in plain_page.text
    assert "highest probability" in plain_page.text
    assert "Do the explainers point to the same place?" in plain_page.text
    assert sum(source.startswith("data:image/svg") for source in plain_page.sources) == 2


@pytest.mark.parametrize("kept", [(), ("prediction",), ("saliency",), ("reference",),
                                  ("radiograph",), ("reference", "saliency")])
def test_cubes_may_hold_only_some_groups(cubes: xr.DataTree, kept: tuple[str, ...],
                                         tmp_path: Path) -> None:
    groups = {f"/{name}": cubes.children[name].to_dataset(inherit=False) for name in kept}
    tree = xr.DataTree.from_dict({"/": cubes.to_dataset(inherit=False), **groups})
    tree.attrs = dict(cubes.attrs)
    path = write_report(tree, tmp_path / "page.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert ("has no predictions" in page.text or "no predictions" in page.text) == (
        "prediction" not in kept)


@pytest.fixture
def bare(cubes: xr.DataTree) -> xr.DataTree:
    """Labels and nothing else: a page that is quick to make."""
    tree = xr.DataTree.from_dict({"/": cubes.to_dataset(inherit=False)})
    tree.attrs = dict(cubes.attrs)
    return tree


def test_an_existing_page_is_kept_unless_told(bare: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    assert write_report(bare, path, results={}) == path
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"report.html exists; say --overwrite"):
        write_report(bare, path, results={})
    assert path.read_text(encoding="utf-8") == "mine"
    write_report(bare, path, results={}, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(UsageError, match="is a folder"):
        write_report(bare, tmp_path, results={})


@pytest.mark.parametrize(("code", "error", "words"), [
    (errno.ENOSPC, DataError, "the disk is full"),
    (errno.EACCES, UsageError, "cannot be written"),
])
def test_a_failed_write_leaves_the_old_page_and_no_piece(
        bare: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int,
        error: type[Exception], words: str) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    original = Path.write_text

    def fail(self: Path, data: str, *args: object, **keywords: object) -> int:
        original(self, data[:100], encoding="utf-8")
        raise OSError(code, "said the disk")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(error, match=words):
        write_report(bare, path, results={}, overwrite=True)
    assert path.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_training_images_among_the_maps_are_announced(cubes: xr.DataTree) -> None:
    groups = {f"/{name}": cubes.children[name].to_dataset(inherit=False)
              for name in ("prediction", "saliency")}
    splits = ["train"] * 5 + ["test"] * 7
    groups["/"] = cubes.to_dataset(inherit=False).assign_coords(split=("image", splits))
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(cubes.attrs)
    page = Page(build(tree, title="t", source="s", results={}))
    assert "Beware: 5 of the images with heatmaps are of the training split" in page.text


def test_several_models_show_the_ensemble(cubes: xr.DataTree, tmp_path: Path) -> None:
    groups = {f"/{name}": node.to_dataset(inherit=False)
              for name, node in cubes.children.items()}
    for name in ("/saliency", "/prediction"):
        twice = groups[name].isel(model=[0, 0])
        groups[name] = twice.assign_coords(
            model=["one", "all"], model_role=("model", ["member", "ensemble"]),
            model_architecture=("model", ["x", "x"]))
    groups["/"] = cubes.to_dataset(inherit=False)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(cubes.attrs)
    page = Page(write_report(tree, tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "Shown are the maps of model all; those of the other 1 models" in page.text
    assert "Model all tells positives" in page.text
