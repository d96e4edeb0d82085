"""Labels are drawn as they read: no formula, no control, no end of the drawing."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from saltrust.errors import DataError
from saltrust.report.figures import distributions
from saltrust.report.figures.literal import MOST_INCHES, literal, new_figure, width_of
from saltrust.report.figures.palette import to_data_uri

FORMULA = r"$\frac{a}{$"
LABELS = (FORMULA, "<script>alert('x')</script>", "a\x1b[2J\x00b\nc",
          "\u80f8\u6c34 \u0635\u062f\u0631 \U0001f480",
          "_&%^{}\\`|#", "x" * 10_000, "'\" onload=\"alert(1)", "$x$ and $y$", "../../a/b")


def texts_of(uri: str) -> list[str]:
    """What stands in the texts of an SVG; it has to be XML."""
    root = ET.fromstring(base64.b64decode(uri.partition(",")[2]))
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("label", LABELS)
def test_every_text_of_a_figure_is_drawn_as_it_reads(label: str) -> None:
    figure = new_figure(3)
    axes = figure.subplots(1, 2)
    (line,) = axes[0].plot([0, 1], [0, 1], label=label)
    axes[0].set_title(label)
    axes[0].set_xlabel(label)
    axes[0].set_yticks([0, 1], [label, label])
    axes[0].legend(handles=[line])
    axes[1].annotate(label, (0, 0))
    figure.legend(handles=[line], loc="outside upper right")
    assert width_of(figure.legends[0]) > 0
    figure.suptitle(label)
    shown = " ".join(" ".join(texts_of(to_data_uri(figure))).split())
    first_line = " ".join(literal(label).split("\n")[0].split())
    assert shown.count(first_line) >= 8
    assert "\x1b" not in shown


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_tables_reach_figures_literally(label: str) -> None:
    table = pd.DataFrame({"finding": [label] * 9, "label": ["positive"] * 5 + ["negative"] * 4,
                          "probability": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]})
    known = pd.DataFrame({"finding": [label], "estimate": [0.876], "conf_low": [0.7],
                          "conf_high": [0.95]})
    assert texts_of(to_data_uri(distributions.probabilities(table, known)))


def test_a_figure_of_too_many_labels_is_refused_before_it_is_made() -> None:
    with pytest.raises(DataError, match=r"inches.*select fewer"):
        new_figure(MOST_INCHES + 1)
    with pytest.raises(DataError, match="inches"):
        new_figure(float("nan"))
