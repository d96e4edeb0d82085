"""Maps against readers who are a sample: with one, with two, and with three as Table 1's test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.inference.multireader.random_readers import readers_against_one
from saltrust.analysis.localization.decreases import decrease
from saltrust.analysis.localization.random_readers import decreases_among_readers, random_readers
from saltrust.analysis.protocols.localization.tables import table1
from saltrust.analysis.result import Result


def scores(readers: int, seed: int = 0) -> pd.DataFrame:
    """Of 14 patients with two images by a map and some readers, of two findings, with gaps."""
    generator = np.random.default_rng(seed)
    rows = []
    for finding in ("Edema", "Mass"):
        hard = generator.random(28)
        for k in range(-1, readers):
            iou = np.clip(0.3 + 0.1 * k + 0.3 * hard + 0.1 * generator.normal(size=28), 0, 1)
            # Each reader, and the map, lack an image.
            iou[k + 5] = np.nan
            who = {"explainer": "gradcam", "model": "net"} if k < 0 else {
                "explainer": "expert", "model": f"reader-{k}"}
            rows.append(pd.DataFrame({
                "image": [f"i{i}" for i in range(28)], "patient": [f"p{i // 2}" for i in range(28)],
                "finding": finding, **who, "reader": "reference", "iou": iou,
                "hit": np.where(np.isnan(iou), np.nan, iou > 0.5)}))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("paired", [True, False])
def test_it_is_the_kernel_on_figures_by_hand(paired: bool) -> None:
    table = scores(3)
    made = random_readers(table, paired=("iou",) if paired else (), confidence_level=0.9)
    expected: dict[str, Any] = {}
    parts = []
    for finding in ("Edema", "Mass"):
        of_finding = table[table["finding"] == finding]
        of_map = of_finding[of_finding["explainer"] == "gradcam"].set_index("image")["iou"]
        patients = of_finding.drop_duplicates("image").set_index("image")["patient"]

        def figures(kept: Any, of_finding: Any = of_finding, of_map: Any = of_map) -> np.ndarray:
            pairs = []
            for k in range(3):
                one = of_finding[of_finding["model"] == f"reader-{k}"].set_index("image")["iou"]
                both = pd.DataFrame({"reader": one, "map": of_map})[kept]
                both = both.dropna() if paired else both
                pairs.append(both.mean().to_numpy())
            return np.array(pairs).T

        whole = figures(np.ones(28, dtype=bool))
        without = np.array([figures((patients != name).to_numpy()) for name in patients.unique()])
        parts.append((whole, without))
        expected[finding] = readers_against_one(*whole, without[:, 0], without[:, 1],
                                                confidence_level=0.9)
    whole, without = (np.mean([part[k] for part in parts], axis=0) for k in (0, 1))
    expected["average"] = readers_against_one(*whole, without[:, 0], without[:, 1],
                                              confidence_level=0.9)
    rows = made[made["metric"] == "iou"].set_index("finding")
    for finding, estimate in expected.items():
        for name in ("estimate", "std_error", "df", "p_value", "conf_low", "conf_high"):
            assert rows.loc[finding, name] == pytest.approx(getattr(estimate, name), rel=1e-9)
    assert (made["readers"] == 3).all()


def test_with_three_readers_it_is_the_test_of_the_protocol() -> None:
    table = scores(3)
    falls, change = decrease(table, resamples=200)
    tests = random_readers(table)
    moved = decreases_among_readers(falls, tests)
    names = ["finding", "explainer", "model", "metric"]
    both = moved.merge(tests, on=names, suffixes=("", "_test"))
    for column in ("statistic", "df", "p_value", "p_adjusted"):
        assert both[column].tolist() == both[f"{column}_test"].tolist()
    assert moved["mean_reader_p_adjusted"].tolist() == falls["p_adjusted"].tolist()
    assert moved["estimate"].tolist() == falls["estimate"].tolist()
    printed = table1(_result(moved, change, tests))
    assert list(printed.columns).index("p, mean reader") == 1 + list(printed.columns).index(
        "p, expert against map")
    assert (printed["p, mean reader"] != "").all()


def test_with_two_readers_both_stand_there_with_the_degrees_of_freedom() -> None:
    table = scores(2)
    falls, change = decrease(table, resamples=200)
    tests = random_readers(table)
    assert tests["note"].str.contains("2 readers: .* degrees of freedom").all()
    assert decreases_among_readers(falls, tests) is falls
    printed = table1(_result(falls, change, tests))
    shown = printed["p, readers random (df)"]
    assert shown.str.fullmatch(r"(< 0\.001|[01]\.\d+) \([\d.e+]+\)").all(), shown.tolist()


def test_with_one_reader_nothing_is_added() -> None:
    table = scores(1)
    tests = random_readers(table)
    assert tests.empty
    falls, change = decrease(table, resamples=200)
    assert decreases_among_readers(falls, tests) is falls
    printed = table1(_result(falls, change, None))
    assert not [name for name in printed if "readers random" in name or "mean reader" in name]


def test_a_reader_without_cases_of_a_finding_is_left_out_of_it() -> None:
    table = scores(3)
    idle = (table["model"] == "reader-2") & (table["finding"] == "Mass")
    made = random_readers(table[~idle]).set_index(["metric", "finding"])["readers"]
    assert made["iou", "Mass"] == 2
    assert made["iou", "Edema"] == made["iou", "average"] == 3


def test_of_few_patients_there_is_no_test() -> None:
    table = scores(3)
    made = random_readers(table[table["patient"].isin([f"p{k}" for k in range(9)])])
    assert made["p_value"].isna().all()
    assert made["note"].str.startswith("fewer than 10 patients").all()
    assert made["estimate"].notna().all()


def _result(falls: pd.DataFrame, change: pd.DataFrame, tests: pd.DataFrame | None) -> Result:
    means = falls.drop(columns=["expert", "saliency"])
    means = means[means["finding"] != "average"]
    expert = means[means["explainer"] == "nobody"]
    more = {} if tests is None else {"random_readers": tests}
    return Result({}, {"decrease": falls, "decrease_change": change, "summary": means,
                       "expert": expert, **more})
