"""Closed forms, pilots, searches and bad input of power."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import saltrust
from saltrust.analysis.localization.contrasts import map_differences
from saltrust.analysis.options import Decision
from saltrust.analysis.power.comparisons.criteria import long_scores
from saltrust.analysis.power.comparisons.registry import COMPARISONS
from saltrust.analysis.power.designs import Design, Designs
from saltrust.analysis.power.options import Pilot, PowerTest, Simulation, Stated
from saltrust.analysis.power.pilot import (
    components,
    intraclass,
    reader_spread,
    resampled,
    sample_of,
)
from saltrust.analysis.power.samples import Sample
from saltrust.analysis.power.search import fewest_patients
from saltrust.analysis.power.simulation import Rate, rate
from saltrust.analysis.trustworthiness.decisions import decide
from saltrust.choices import PowerComparison, words
from saltrust.errors import SaltrustError
from saltrust.testing import simulate_cubes

FEW = Simulation(replicates=60, target=None)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pilot") / "pilot.zarr"
    simulate_cubes(path, patients=12, grid=16, seed=5, findings=("Cardiomegaly", "Edema"),
                   parts=())
    return path


def test_every_comparison_has_a_name() -> None:
    assert set(COMPARISONS) == set(words(PowerComparison))


@pytest.mark.parametrize("name", sorted(set(COMPARISONS) - {"criteria", "mixed"}))
def test_without_an_effect_the_level_is_held(name: str) -> None:
    options: dict[str, Any] = {"margin": 0.2} if "margin" in COMPARISONS[name].questions else {}
    # At the margin the hypothesis is just true.
    effect = {"equivalence": 0.2, "non-inferiority": -0.2}.get(name, 0.0)
    replicates = 100
    readers: tuple[int, ...] = (4,) if "readers" in COMPARISONS[name].questions else ()
    made = saltrust.power(test=PowerTest(name, **options),  # type: ignore[arg-type]
                          stated=Stated(mean=0.7),
                          designs=Designs((24,), images=("1-3",), readers=readers,
                                          effects=(effect,)),
                          simulation=Simulation(replicates=replicates, target=None))
    share = made["power"]["power"].item()
    assert share < 0.05 + 4 * np.sqrt(0.05 * 0.95 / replicates)


def test_numbers_do_not_depend_on_workers_but_on_the_seed() -> None:
    asked: Any = (Design(12, "1-3", effect=0.1), Stated(), PowerTest("clustered"))
    one = rate(*asked, Simulation(replicates=120))
    with ThreadPoolExecutor(2) as pool:
        assert rate(*asked, Simulation(replicates=120), executor=pool) == one
    assert rate(*asked, Simulation(replicates=120, seed=1)) != one


def test_the_test_is_the_very_one_of_the_analysis() -> None:
    sample = COMPARISONS["maps"].draw(np.random.default_rng(3), Design(20, "1-3", effect=0.05),
                                      Stated(), PowerTest())
    n = len(sample.patients)
    table = pd.concat([pd.DataFrame({
        "image": [f"i{k}" for k in range(n)], "patient": sample.patients.astype(str),
        "finding": "Edema", "explainer": name, "model": "net", "reader": "truth",
        "iou": sample.values[:, arm, 0], "hit": 0.0})
        for arm, name in enumerate(("grad", "xrai"))])
    differences = map_differences(table, resamples=1000, seed=4)
    (row,) = differences[differences["metric"] == "iou"].to_dict("records")
    made = COMPARISONS["maps"].decide(sample, PowerTest(resamples=1000), 4)
    assert [made.estimate, made.p_value] == pytest.approx([row["estimate"], row["p_value"]])

    for comparison, variance in (("criteria", "level"), ("mixed", "equal")):
        decisions, _ = decide(long_scores(sample), [("level", "baseline")], identify={},
                              options=Decision(variance=variance))  # type: ignore[arg-type]
        made = COMPARISONS[comparison].decide(sample, PowerTest(), 0)
        assert [made.estimate, made.p_value] == pytest.approx(
            [decisions[0]["estimate"], decisions[0]["p_value"]])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(4, 3000), st.integers(4, 3000), st.integers(2, 3000))
def test_the_search_finds_where_a_rising_power_passes(needed: int, most: int, start: int) -> None:
    made = fewest_patients(lambda patients: 0.9 if patients >= needed else 0.1, 0.8, most,
                           start=start)
    assert made.patients == (needed if needed <= most else 0)
    assert made.looked_at < 40


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share(replicates: int, data: st.DataObject) -> None:
    made = Rate(data.draw(st.integers(0, replicates)), 0, replicates, 0.0)
    low, high = made.interval(0.95)
    assert 0 <= low <= made.power <= high <= 1
    assert low < high


def test_more_of_everything_gives_more_power() -> None:
    def of(**options: Any) -> float:
        values: dict[str, Any] = {"patients": (30,), "effects": (0.08,), **options}
        return float(saltrust.power(test=PowerTest("clustered"), designs=Designs(**values),
                                    simulation=Simulation(replicates=200, target=None))[
                                        "power"]["power"].item())

    least = of()
    assert of(patients=(60,)) > least + 0.1
    assert of(images=(3,)) > least + 0.05
    assert of(effects=(0.12,)) > least + 0.1


def test_a_family_costs_power() -> None:
    alone, together = (saltrust.power(
        test=PowerTest("clustered", tests=tests), designs=Designs((40,), effects=(0.08,)),
        simulation=Simulation(replicates=150, target=None)) for tests in (1, 10))
    assert together.meta["level_of_a_test"] == pytest.approx(0.005)
    assert together["power"]["power"].item() < alone["power"]["power"].item() - 0.1


def test_drawn_scores_have_the_stated_moments() -> None:
    stated = Stated(mean=0.4, sd=0.2, icc=0.3, correlation=0.6)
    generator = np.random.default_rng(0)
    sample = COMPARISONS["maps"].draw(generator, Design(20_000, "3", effect=0.05), stated,
                                      PowerTest())
    values = sample.values[:, :, 0]
    assert values.mean(axis=0) == pytest.approx([0.45, 0.4], abs=0.01)
    assert values.std(axis=0) == pytest.approx([0.2, 0.2], abs=0.005)
    assert np.corrcoef(values.T)[0, 1] == pytest.approx(0.6, abs=0.02)
    assert intraclass(values[:, 0], sample.patients) == pytest.approx(0.3, abs=0.02)
    back = components(sample, PowerTest(), Stated())
    assert [back.mean, back.sd, back.icc, back.correlation] == pytest.approx(
        [0.4, 0.2, 0.3, 0.6], abs=0.02)


def test_hits_have_their_rates_and_turn_to_others() -> None:
    generator = np.random.default_rng(1)
    test = PowerTest("maps", outcome="hit")
    comparison = COMPARISONS["maps"]
    sample = comparison.draw(generator, Design(4000, "2", effect=0.2), Stated(mean=0.3), test)
    assert set(np.unique(sample.values)) == {0.0, 1.0}
    assert sample.values.mean(axis=(0, 2)) == pytest.approx([0.5, 0.3], abs=0.02)
    for by in (0.15, -0.25):
        moved = comparison.shift(generator, sample, by, test)
        assert set(np.unique(moved.values)) == {0.0, 1.0}
        assert comparison.effect(moved) == pytest.approx(comparison.effect(sample) + by, abs=0.03)


@pytest.mark.parametrize("name", ["maps", "slope", "groups", "auc", "readers"])
def test_a_shifted_sample_has_the_effect_that_is_asked_for(name: str) -> None:
    generator = np.random.default_rng(2)
    comparison = COMPARISONS[name]
    sample = comparison.draw(generator, Design(60, "1-3", readers=3, effect=0.02), Stated(mean=0.7),
                             PowerTest())
    moved = comparison.shift(generator, sample, 0.1 - comparison.effect(sample), PowerTest())
    assert comparison.effect(moved) == pytest.approx(0.1, abs=2e-3)


def test_a_pilot_is_drawn_by_patient() -> None:
    values = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [np.nan, 1.0]])
    pilot = resampled(sample_of(values, ["a", "a", "b", "c"]))
    drawn = pilot.drawn(np.random.default_rng(0), 50)
    assert len(set(drawn.patients.tolist())) == 50
    for patient in range(50):
        seen = drawn.values[drawn.patients == patient, 0, 0].tolist()
        assert seen in ([1.0, 2.0], [3.0])


def test_readers_who_differ_cost_power_and_their_spread_is_estimated() -> None:
    def of(readers: int, reader_sd: float) -> float:
        made = saltrust.power(
            test=PowerTest("readers"), stated=Stated(reader_sd=reader_sd),
            designs=Designs((40,), readers=(readers,), effects=(0.1,)),
            simulation=Simulation(replicates=150, target=None))
        return float(made["power"]["power"].item())

    assert of(8, 0.08) > of(3, 0.08) + 0.1
    assert of(3, 0.0) > of(3, 0.08) + 0.1
    comparison, stated = COMPARISONS["readers"], Stated(reader_sd=0.1)
    generator = np.random.default_rng(0)
    spreads = [reader_spread(comparison.draw(generator, Design(60, "2", readers=40), stated,
                                             PowerTest())) for _ in range(10)]
    assert np.mean(spreads) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(("comparison", "options"), [
    ("readers", {}), ("maps", {"pair": ("gradcam", "grad")}), ("maps", {"use": "components"}),
    ("slope", {}), ("auc", {}), ("mixed", {"pair": ("gradcam", "average-mask")})])
def test_power_of_a_pilot(cubes: Path, comparison: Any, options: dict[str, Any]) -> None:
    few = Simulation(replicates=4, target=None)
    made = saltrust.power(cubes, test=PowerTest(comparison),
                          pilot=Pilot(finding="Edema", **options),
                          designs=Designs((20,), effects=(0.05,)), simulation=few)
    assert list(made) == ["power", "pilot"]
    assert made["power"]["untested"].item() == 0
    assert made["power"]["images"].item() == (
        "1" if options.get("use") == "components" else "pilot")
    assert made["pilot"]["patients"].between(4, 12).all()
    assert made.meta["pilot"]["finding"] == "Edema"


def test_the_figure_is_drawn() -> None:
    made = saltrust.power(test=PowerTest("clustered"),
                          designs=Designs((10, 20), effects=(0.1, 0.2)),
                          simulation=Simulation(replicates=20, most_patients=40))
    axes = made.plot().axes[0]
    assert axes.get_ylabel() == "Power"
    assert len(axes.get_legend_handles_labels()[1]) == 2


@pytest.mark.parametrize(("asked", "sentence"), [
    ({"designs": Designs()}, "say --effect"),
    ({"test": PowerTest("equivalence")}, "needs a margin"),
    ({"test": PowerTest("maps", margin=0.1)}, "has no margin"),
    ({"designs": Designs(readers=(3,), effects=(0.1,))}, "has no readers"),
    ({"test": PowerTest("readers"), "designs": Designs(readers=(1,), effects=(0.1,))},
     "2 readers"),
    ({"test": PowerTest("mixed"), "designs": Designs(models=(2,), effects=(0.1,))},
     "model-share"),
    ({"test": PowerTest("auc"), "stated": Stated(mean=0.9),
      "designs": Designs(effects=(0.2,))}, "between 0 and 1"),
    ({"test": PowerTest("slope"), "designs": Designs(effects=(0.3,))}, "smaller effect"),
    ({"test": PowerTest(outcome="hit"), "designs": Designs(effects=(0.6,))}, "hit rate of 1.1"),
])
def test_what_cannot_be_asked_is_one_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SaltrustError, match=sentence):
        saltrust.power(simulation=FEW, **asked)


@pytest.mark.parametrize(("made", "options", "sentence"), [
    (Designs, {"patients": ()}, "number of patients"),
    (Designs, {"patients": (1,)}, "at least 2"), (Designs, {"patients": (2.5,)}, "whole number"),
    (Designs, {"patients": 40}, "sequence"), (Designs, {"images": ("3-1",)}, "fewest"),
    (Designs, {"images": ("x",)}, "fewest"), (Designs, {"effects": (float("nan"),)}, "finite"),
    (Designs, {"patients": range(2, 2002), "effects": (1.0, 2.0)}, "designs"),
    (Stated, {"sd": 0}, "positive"), (Stated, {"icc": 1.5}, "between 0 and 1"),
    (Stated, {"icc": 0.8, "model_share": 0.5}, "cannot exceed 1"),
    (Stated, {"reader_sd": -1.0}, "negative"), (Stated, {"prevalence": 1.0}, "prevalence"),
    (PowerTest, {"comparison": "map"}, "maps"), (PowerTest, {"alpha": 0.0}, "alpha"),
    (PowerTest, {"margin": -1.0}, "positive"), (Simulation, {"target": 1.0}, "target"),
    (Simulation, {"replicates": 1}, "at least 2"), (Pilot, {"pair": ("a", "a")}, "two different"),
])
def test_values_out_of_range_are_refused(made: Any, options: dict[str, Any], sentence: str
                                         ) -> None:
    with pytest.raises(SaltrustError, match=sentence):
        made(**options)


@pytest.mark.parametrize(("options", "asked", "sentence"), [
    ({}, {}, "say --finding"), ({"finding": "Edma"}, {}, "did you mean 'Edema'"),
    ({"finding": "Edema", "pair": ("grad", "gradcm")}, {}, "did you mean 'gradcam'"),
    ({"finding": "Edema", "model": "x"}, {}, "no model"),
    ({"finding": "Edema"}, {"designs": Designs(images=(2,))}, "--use components|components"),
    ({"finding": "Edema"}, {"test": PowerTest("groups"), "designs": Designs(effects=(0.1,))},
     "stated values"),
    ({"finding": "Edema", "descriptor": "area"}, {"test": PowerTest("slope")}, "area_ratio"),
])
def test_what_a_pilot_lacks_is_named(cubes: Path, options: dict[str, Any], asked: dict[str, Any],
                                     sentence: str) -> None:
    with pytest.raises(SaltrustError, match=sentence):
        saltrust.power(cubes, pilot=Pilot(**options), simulation=FEW, **asked)


def test_scores_that_do_not_vary_are_no_pilot() -> None:
    flat = Sample(np.ones((6, 2, 1)), np.arange(6), np.empty(0))
    with pytest.raises(SaltrustError, match="do not vary"):
        components(flat, PowerTest(), Stated())
    with pytest.raises(SaltrustError, match="1 patient"):
        resampled(Sample(np.ones((2, 2, 1)), np.zeros(2), np.empty(0)))
