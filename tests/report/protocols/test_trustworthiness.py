"""Protocol A as a whole: tables agree with the results, figures with the tables."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.options import Decision
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.protocols.trustworthiness.protocol import protocol_trustworthiness
from saltrust.analysis.result.text import render_frame
from saltrust.analysis.select import select
from saltrust.errors import DataError
from saltrust.report.protocols.figures import figures_of

OPTIONS = Decision(resamples=700)


@pytest.fixture(scope="module")
def studies() -> ModuleType:
    """The builder of little studies that the tests of the criteria share."""
    path = Path(__file__).parents[2] / "analysis" / "trustworthiness" / "conftest.py"
    spec = importlib.util.spec_from_file_location("criteria_studies", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cubes(studies: ModuleType) -> xr.DataTree:
    tree: xr.DataTree = studies.study(localizers=["unet-1", "unet-2"], randomization=True,
                                      replicates=2, positives=14, negatives=5)
    return tree


@pytest.fixture(scope="module")
def protocol(cubes: xr.DataTree) -> ProtocolResult:
    # The average mask is of the images that are not selected.
    return protocol_trustworthiness(select(cubes, split="test"), fitted_on=cubes,
                                    decision=OPTIONS)


@pytest.fixture(scope="module")
def figures(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    return figures_of(protocol, cubes)


def test_every_criterion_has_its_table_and_figures(
        protocol: ProtocolResult, figures: dict[str, Figure]) -> None:
    assert list(protocol.results) == ["utility", "randomization", "repeatability",
                                   "reproducibility"]
    assert {"decisions", "utility_auprc", "utility_average_precision", "utility_auroc",
            "randomization", "repeatability", "reproducibility", "models"} == set(protocol.tables)
    assert {"overview", "utility_auprc", "utility_average_precision", "utility_auroc", "examples",
            "precision_recall", "randomization", "randomization_maps", "similarity",
            "repeatability_maps", "reproducibility_maps"} == set(figures)
    assert not protocol.missing


@pytest.mark.parametrize(("name", "lines"), [
    ("utility_auprc", {"average-mask": "#56B4E9", "unet-1, unet-2": "#003D66"}),
    ("similarity", {"low baseline 0.5": "#56B4E9", "localizer unet": "#003D66"}),
])
def test_figures_say_what_their_lines_are(figures: dict[str, Figure], name: str,
                                          lines: dict[str, str]) -> None:
    axes = figures[name].axes[0]
    legend = axes.get_legend()
    named = {text.get_text(): line.get_color() for text, line in
             zip(legend.get_texts(), legend.get_lines(), strict=True)}
    assert list(named)[:2] == ["median", "mean"]
    assert {label: color for label, color in named.items() if label in lines} == lines
    drawn = [line.get_color() for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert set(drawn) == set(lines.values())


def test_printed_numbers_are_those_of_the_results(protocol: ProtocolResult) -> None:
    summary = protocol.results["utility"].tables["summary"]
    table = protocol.tables["utility_auprc"]
    for row, printed in zip(summary.itertuples(), table["auprc"], strict=True):
        assert printed == f"{row.auprc_mean:.3f} ± {row.auprc_sd:.3f}"
    table = protocol.tables["randomization"].set_index("explainer")
    decided = protocol.results["randomization"].tables["decisions"].set_index("explainer")
    for explainer, row in table.iterrows():
        assert row["decision"].startswith(decided.loc[explainer, "decision"])
    marks = protocol.tables["decisions"].set_index("explainer")
    assert marks.loc["edges", "randomization: different images"] == "did not pass"
    assert marks.loc["oracle", "utility: average-mask"].startswith("pass")
    assert "against 0.5 (low baseline)" in protocol.tables["repeatability"]


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_tables_in_every_format(protocol: ProtocolResult, form: str) -> None:
    for name, table in protocol.tables.items():
        assert "oracle" in (text := render_frame(table, form, title=name)) or name == "models"
        assert text.endswith("\n")


def test_figures_show_the_tables(
        protocol: ProtocolResult, figures: dict[str, Figure]) -> None:
    stages = protocol.results["randomization"].tables["stages"]
    axes = figures["randomization"].axes[0]
    rows = stages[stages["explainer"] == "oracle"].groupby("stage_index")["ssim_mean"].mean()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, *rows])
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "trained", "block2", "block1"]
    boxes = figures["utility_auprc"].axes[0]
    labels = [label.get_text() for label in boxes.get_yticklabels()]
    assert "average-mask" in labels
    assert "oracle (dense-1), random weights" in labels
    # Of three images the radiograph, three explainers, the average mask and two localizers.
    examples = [axes for axes in figures["examples"].axes if axes.images]
    assert len(examples) == 3 * (1 + 3 + 1 + 2)
    scores = protocol.results["utility"].tables["scores"]
    best = scores[(scores["condition"] == "trained") & (scores["explainer"] == "oracle")
                  & (scores["model"] == "dense-1")]["average_precision"].max()
    assert f"AP {best:.3f}" in examples[1].get_xlabel()
    assert len(figures["precision_recall"].axes) == 3
    for figure in figures.values():
        figure.canvas.draw()


def test_methods_say_how(protocol: ProtocolResult) -> None:
    for phrase in ("Gaussian, sigma 1.5", "pass: significantly below the baseline",
                   "adjustment: single-step", "low baseline: 0.5", "n - 1"):
        assert phrase in protocol.methods()


def test_what_cannot_be_judged_is_said(studies: ModuleType) -> None:
    protocol = protocol_trustworthiness(
        studies.study(models={"net": "a"}, positives=6, negatives=2), decision=OPTIONS)
    assert list(protocol.results) == ["utility"]
    assert set(protocol.missing) == {"randomization", "repeatability", "reproducibility"}
    assert "Not judged" in protocol.methods()
    empty = studies.study(positives=0, negatives=2, fitted=0, saliency=False)
    with pytest.raises(DataError, match=r"no criterion can be judged.*repeatability:"):
        protocol_trustworthiness(empty)
