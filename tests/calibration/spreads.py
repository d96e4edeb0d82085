"""Decisions of explainers whose spreads differ: how often any differs where none does.

A plain module: ``familywise`` with a fixed seed is called by ``make calibration``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from saltrust.analysis.trustworthiness.contrasts import robust_contrasts

SDS = np.array([0.02, 0.03, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.25])
NAMES = [f"e{k}" for k in range(9)]
PAIRS = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1:]]


def correlation() -> np.ndarray:
    """0.9 within families of three explainers, 0.2 across."""
    family = np.arange(9) // 3
    made = np.where(family[:, None] == family, 0.9, 0.2)
    np.fill_diagonal(made, 1.0)
    return made


def scores(rng: np.random.Generator, patients: int, most: int, sds: np.ndarray) -> pd.DataFrame:
    """Scores of mean .5 of one to ``most`` images a patient, intraclass correlation .5."""
    root = np.linalg.cholesky(correlation()).T * sds
    count = rng.integers(1, most + 1, patients)
    patient = np.repeat(np.arange(patients), count)
    values = 0.5 + np.sqrt(0.5) * ((rng.normal(size=(patients, 9)) @ root)[patient]
                                   + rng.normal(size=(len(patient), 9)) @ root)
    return pd.DataFrame({
        "image": np.repeat([f"i{i}" for i in range(len(patient))], 9),
        "patient": np.repeat([f"p{p}" for p in patient], 9),
        "level": NAMES * len(patient), "value": values.ravel()})


def familywise(patients: int, most: int, *, runs: int, seed: int, sds: np.ndarray = SDS,
               ) -> dict[str, float]:
    """Rejections of all pairs, the loudest and the quietest, and of means against .5.

    Returns
    -------
    dict of str to float
        ``any`` of the 36 pairs adjusted, the ``loudest`` and ``quietest`` pair alone, and
        ``mean`` of the quietest and loudest explainer against .5 alone.
    """
    rng = np.random.default_rng(seed)
    formula = "value ~ level + (1|image)" + (" + (1|patient)" if most > 1 else "")
    constant = [(name, "0.5") for name in NAMES]
    seen = np.zeros((runs, 6))
    for run in range(runs):
        table = scores(rng, patients, most, sds)
        made = robust_contrasts(table, PAIRS, formula, alpha=0.05, seed=0, constants={})
        means = robust_contrasts(table, constant, formula, alpha=0.05, seed=0,
                                 constants={"0.5": 0.5})
        seen[run] = [min(row["p_adjusted"] for row in made.values()) < 0.05,
                     made["e7", "e8"]["p_value"] < 0.05, made["e0", "e1"]["p_value"] < 0.05,
                     means["e0", "0.5"]["p_value"] < 0.05, means["e8", "0.5"]["p_value"] < 0.05,
                     min(row["p_adjusted"] for row in means.values()) < 0.05]
    return dict(zip(("any pair", "loudest", "quietest", "mean quiet", "mean loud", "any mean"),
                    seen.mean(axis=0).tolist(), strict=True))


if __name__ == "__main__":
    import sys

    patients, most, runs = map(int, sys.argv[1:])
    print(patients, most, familywise(patients, most, runs=runs, seed=patients + most))
