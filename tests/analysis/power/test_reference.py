"""Power of R's pwr, and of lme4 by simulation (Rscripts/reference_power.R)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.analysis.power.analysis import power
from saltrust.analysis.power.designs import Designs
from saltrust.analysis.power.options import PowerTest, Simulation, Stated

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/power/power.json").read_text())
REPLICATES = 250
#: pwr takes hit rates and unequal groups as normal; a test of CR2 has other degrees of freedom.
APPROXIMATE = 0.015


def simulated(case: dict[str, Any], replicates: int, **options: Any) -> Any:
    stated = {name: case[name] for name in ("mean", "sd", "correlation", "prevalence", "icc")
              if name in case}
    return power(test=PowerTest(case.get("comparison", "mixed"),
                                outcome=case.get("outcome", "score")),
                 stated=Stated(**{"icc": 0.0, **stated}),
                 designs=Designs((case["patients"],), effects=(case["effect"],),
                                 images=(case.get("images", 1),)),
                 simulation=Simulation(replicates=replicates, seed=1, **options))


@pytest.mark.parametrize("case", REFERENCE["pwr"], ids=lambda case: (
    f"{case['comparison']}-{case['outcome']}-{case['patients']}-{case['effect']}"))
def test_power_is_that_of_pwr(case: dict[str, Any]) -> None:
    (row,) = simulated(case, REPLICATES, target=None)["power"].to_dict("records")
    error = np.sqrt(case["power"] * (1 - case["power"]) / REPLICATES)
    assert abs(row["power"] - case["power"]) < 3.5 * error + APPROXIMATE


def test_the_fewest_patients_are_those_of_pwr() -> None:
    case = REFERENCE["fewest"][0]
    start = {**case, "patients": 20}
    (row,) = simulated(start, REPLICATES, target=case["target"])["smallest"].to_dict("records")
    assert row["patients"] == pytest.approx(case["patients"], rel=0.2)
    assert row["conf_low"] - 0.04 < case["target"] < row["conf_high"] + 0.04


def test_power_of_a_mixed_model_is_that_of_lme4() -> None:
    case, replicates = REFERENCE["mixed"], 60
    (row,) = simulated(case, replicates, target=None)["power"].to_dict("records")
    error = np.sqrt(case["power"] * (1 - case["power"]) * (1 / replicates
                                                           + 1 / case["replicates"]))
    assert abs(row["power"] - case["power"]) < 3 * error
