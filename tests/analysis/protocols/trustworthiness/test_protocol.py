"""Faithfulness is a fifth criterion where the cubes hold curves, and nowhere else."""

from __future__ import annotations

import pytest
import xarray as xr

from saltrust.analysis.options import Decision
from saltrust.analysis.protocols.trustworthiness.protocol import protocol_trustworthiness
from saltrust.analysis.select import select
from saltrust.testing import simulate_cubes

FEW = Decision(resamples=400)


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    tree = simulate_cubes(patients=26, images_per_patient=1, grid=16, findings=["Edema"],
                          parts=["faithfulness"])
    return select(tree, model="densenet-1")


def test_every_metric_is_a_mark_of_its_own(cubes: xr.DataTree) -> None:
    protocol = protocol_trustworthiness(cubes, decision=FEW)
    marks = protocol.tables["decisions"].set_index("explainer")
    column = "faithfulness: {} against random orders"
    for metric in ("deletion", "insertion", "morf", "lerf"):
        assert marks.loc["gradcam", column.format(metric)] == "pass"
        assert "pass" not in marks.loc["grad", column.format(metric)].split(" *")
    table = protocol.tables["faithfulness"]
    assert {"explainer", "metric", "n", "mean", "random orders", "decision"} <= set(table)
    assert "## Faithfulness" in protocol.methods()


def test_cubes_without_curves_do_not_miss_it(cubes: xr.DataTree) -> None:
    without = xr.DataTree.from_dict({path: node.to_dataset() for path, node in
                                     [("/", cubes), *cubes.children.items()]
                                     if path != "faithfulness"})
    protocol = protocol_trustworthiness(without, decision=FEW)
    assert "faithfulness" not in {*protocol.results, *protocol.missing, *protocol.tables}
    assert "aithful" not in protocol.methods()
