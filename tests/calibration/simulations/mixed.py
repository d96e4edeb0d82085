"""Mixed models, where what they assume is so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.model import fit_model
from saltrust.analysis.mixed.options import Fitting
from tests.calibration.designs import Design, drawn_patients
from tests.calibration.outcome import Cell, Outcome, against

_FORMULA = "value ~ level + (1|patient) + (1|image)"


def cells() -> Iterator[Cell]:
    for patients in (12, 40):
        for table, asked in (("contrasts", ("familywise",)), ("means", ("type I", "coverage")),
                             ("fixed_effects", ("type I", "coverage")), ("anova", ("type I",))):
            design = Design(patients)
            yield Cell(f"mixed {table}", f"{design}, four levels of equal variance",
                       lambda g, design=design, table=table: _fitted(g, design, table), asked,
                       patients, 500)


def _fitted(generator: np.random.Generator, design: Design, table: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    n = len(owner)
    of_image = 0.1 * levels[owner] + 0.1 * generator.normal(size=n)
    values = 0.5 + of_image[:, None] + 0.1 * generator.normal(size=(n, 4))
    frame = pd.DataFrame({
        "value": values.ravel(), "level": np.tile(list("abcd"), n),
        "image": np.repeat([f"i{k}" for k in range(n)], 4),
        "patient": np.repeat([f"p{k}" for k in owner], 4)})
    result, _ = fit_model(frame, _FORMULA, over="level", fitting=Fitting(engine="builtin"))
    made: Any = result.tables[table]
    if table == "contrasts":
        return Outcome(rejected=float((made["p_adjusted"] <= 0.05).any()))
    if table == "anova":
        return Outcome(rejected=float(made["p_value"].iloc[-1] <= 0.05))
    row = made.iloc[0 if table == "means" else 1].to_dict()
    if table == "means":
        # The test of a mean is against zero, which is not so: its interval speaks for it.
        row["p_value"] = 0.0 if row["conf_low"] > 0.5 or row["conf_high"] < 0.5 else 1.0
        return against(row, 0.5)
    return against(row, 0.0)
