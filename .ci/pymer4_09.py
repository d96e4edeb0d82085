"""Whether pymer4 0.9 gives what the built-in engine gives, in an environment of its own.

    python .ci/pymer4_09.py build/pymer4-09/bin/python

runs this file again by that Python (`make pymer4-09` makes it), which fits models by the lower
layer of pymer4: the constructor of 0.9.2 takes no `REML=`, and its models round nothing there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "reference" / "mixed_effects"
MODELS = (
    ("unbalanced", "auprc ~ explainer + (1|image)", "explainer", True),
    ("unbalanced", "auprc ~ explainer + (1|image)", "explainer", False),
    ("crossed", "auprc ~ explainer + (1|image) + (1|reader)", "explainer", True),
    ("interaction", "auprc ~ explainer * model + age + (1|image)", "explainer", True),
)
#: lmer's optimiser leaves 1e-5 in the variances where nothing is said of it.
TOLERANCE = 1e-4


def fit_by_pymer4(folder: Path) -> None:
    """Print what pymer4 0.9 gives for every model: runs in its environment."""
    import polars as pl
    from pymer4.tidystats.broom import tidy
    from pymer4.tidystats.emmeans_lib import emmeans
    from pymer4.tidystats.lmerTest import lmer

    made = []
    for name, formula, over, reml in MODELS:
        model = lmer(formula, data=pl.read_csv(folder / f"{name}.csv"), REML=reml)
        fixed = tidy(model, effects="fixed")
        pairs = emmeans(model, over, contrasts="pairwise", adjust="tukey",
                        **{"lmer.df": "satterthwaite"})
        made.append({
            "fixed_effects": {"estimate": fixed["estimate"].to_list(),
                              "std_error": fixed["std_error"].to_list(),
                              "df": fixed["df"].to_list()},
            "contrasts": {"contrast": pairs["contrast"].to_list(),
                          "estimate": pairs["estimate"].to_list(),
                          "std_error": pairs["SE"].to_list(), "df": pairs["df"].to_list(),
                          "p_adjusted": pairs["p_value"].to_list()}})
    print(json.dumps(made))


def main(python: str) -> None:
    """Compare, and fail with a sentence where a number differs."""
    import numpy as np
    import pandas as pd

    from saltrust.analysis.mixed.model import mixed_model
    from saltrust.analysis.mixed.options import Fitting

    tables: dict[str, pd.DataFrame] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, _, _, _ in MODELS:
            # R sorts levels, the built-in engine takes them as they come.
            table = pd.read_csv(FOLDER / f"{name}.csv")
            for column in table.select_dtypes("object"):
                codes, levels = pd.factorize(table[column])
                table[column] = [f"{code:03d}{levels[code]}" for code in codes]
            tables[name] = table
            table.to_csv(Path(folder) / f"{name}.csv", index=False)
        done = subprocess.run([python, __file__, "--fit", folder], capture_output=True, text=True,
                              check=False)
    if done.returncode:
        sys.exit(f"pymer4 0.9 could not fit: {done.stderr[-2000:]}")
    largest = 0.0
    theirs = json.loads(done.stdout.splitlines()[-1])
    for (name, formula, over, reml), made in zip(MODELS, theirs, strict=True):
        ours = mixed_model(tables[name], formula, over=over,
                           fitting=Fitting(engine="builtin", reml=reml))
        for part, columns in made.items():
            for column, values in columns.items():
                if column == "contrast":
                    if ours[part][column].tolist() != values:
                        sys.exit(f"{name}: pymer4 has the contrasts {values}")
                    continue
                floor = {"estimate": ours[part]["std_error"], "p_adjusted": 1e-3}.get(column, 0.0)
                one, two = ours[part][column].to_numpy(dtype=float), np.array(values)
                gap = float((np.abs(one - two) / np.maximum(np.abs(two), floor)).max())
                largest = max(largest, gap)
                if not gap < TOLERANCE:
                    sys.exit(f"{name}, {part} {column}: pymer4 differs by {gap:.2g}")
    print(f"pymer4 0.9 and the built-in engine agree in {len(MODELS)} models to {largest:.2g}")


if __name__ == "__main__":
    if sys.argv[1] == "--fit":
        fit_by_pymer4(Path(sys.argv[2]))
    else:
        main(sys.argv[1])
