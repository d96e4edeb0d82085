"""Labels of data are text in the page, in its attributes and in its figures, whatever they hold."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
import xarray as xr

from saltrust.report.page.page import write_report

FINDINGS = {"Cardiomegaly": r"$\frac{a}{$", "Edema & co": "<script>alert('x')</script>",
            "Lung_Lesion": "'\" onload=\"alert(1)\" \u80f8\u6c34 \U0001f480\x1b[2J"}
EXPLAINERS = {"gradcam": r"\sqrt{$", "grad": "_<img src=x onerror=alert(1)>"}
READERS = {"radiologists": "</title><script>", "third reader": "=1+1 $x$"}


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.figures: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "img":
            self.figures.append(dict(attrs).get("src") or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def hostile(cubes: xr.DataTree) -> xr.DataTree:
    names = {"finding": FINDINGS, "explainer": EXPLAINERS, "reader": READERS}
    groups = {}
    for node in cubes.subtree:
        dataset = node.to_dataset(inherit=False)
        for dim, by_name in names.items():
            if dim in dataset.coords:
                labels = [by_name.get(str(name), str(name)) for name in dataset[dim].values]
                dataset = dataset.assign_coords({dim: (dim, labels)})
        groups[node.path] = dataset
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(cubes.attrs)
    return tree


def test_labels_are_text_wherever_they_stand(hostile: xr.DataTree, tmp_path: Path) -> None:
    text = write_report(hostile, tmp_path / "r.html").read_text(encoding="utf-8")
    page = Elements(text)
    assert page.tags & {"script", "b"} <= {"b"}
    assert not {name for name in page.attributes if name.startswith("on")}
    for label in FINDINGS.values():
        assert label.partition("\x1b")[0] in " ".join(page.text)
    vector = [uri for uri in page.figures if uri.startswith("data:image/svg")]
    assert vector
    for uri in vector:
        drawing = base64.b64decode(uri.partition(",")[2]).decode()
        assert ET.fromstring(drawing).tag.endswith("svg")
        assert not re.search("[\x00-\x08\x1b]", drawing)
    assert any(r"$\frac{a}{$" in base64.b64decode(uri.partition(",")[2]).decode()
               for uri in vector)
