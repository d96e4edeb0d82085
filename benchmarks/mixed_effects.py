"""saltrust's mixed model against lme4's: time, and whether they agree.

    python benchmarks/mixed_effects.py [--images 100000] [--explainers 9] [--repeats 3]
    python benchmarks/mixed_effects.py --readers 3 --images 5000 --require 10

The model is ``auprc ~ explainer + (1|image)``; with ``--readers`` that of a reader study, with
intercepts of images, readers and all their pairs, also with explainers.  On R's side the call of
``lmer`` alone is timed; on saltrust's everything from the table in memory to the finished tables:
fit, Satterthwaite's degrees of freedom, marginal means and all pairwise contrasts with Tukey's
adjustment.  Runs
alternate, each in a process of its own.  Exits with 1 when the two disagree by more than 1e-6
(1e-4 with readers: so far from the optimum does lmer's optimiser stop in five dimensions),
or when lmer's median time is less than ``--require`` times saltrust's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

R_SIDE = Path(__file__).with_suffix(".R")
TOLERANCE = 1e-6
READERS_TOLERANCE = 1e-4
FORMULA = "auprc ~ explainer + (1|image)"
OF_READERS = ("auprc ~ explainer + (1|image) + (1|reader) + (1|image:reader) + (1|image:explainer)"
              " + (1|reader:explainer)")


def simulate(images: int, explainers: int, seed: int) -> pd.DataFrame:
    """Scores of every explainer on every image, one in fifty missing."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), explainers)
    explainer = np.tile(np.arange(explainers), images)
    score = (0.3 + 0.02 * explainer + rng.normal(scale=0.1, size=images)[image]
             + rng.normal(scale=0.12, size=len(image)))
    table = pd.DataFrame({"image": [f"image{i}" for i in image],
                          "explainer": [f"explainer{i}" for i in explainer], "auprc": score})
    return table[rng.random(len(table)) >= 0.02]


def simulate_readers(images: int, explainers: int, readers: int, missing: float, seed: int,
                     ) -> pd.DataFrame:
    """Scores of every explainer by every reader on every image."""
    rng = np.random.default_rng(seed)
    image, reader, explainer = (
        axis.ravel() for axis in np.meshgrid(np.arange(images), np.arange(readers),
                                             np.arange(explainers), indexing="ij"))
    score = (0.3 + 0.02 * explainer + rng.normal(scale=0.1, size=images)[image]
             + rng.normal(scale=0.05, size=readers)[reader]
             + rng.normal(scale=0.06, size=(images, readers))[image, reader]
             + rng.normal(scale=0.08, size=(images, explainers))[image, explainer]
             + rng.normal(scale=0.02, size=(readers, explainers))[reader, explainer]
             + rng.normal(scale=0.1, size=len(image)))
    table = pd.DataFrame({"image": [f"image{i}" for i in image],
                          "reader": [f"reader{i}" for i in reader],
                          "explainer": [f"explainer{i}" for i in explainer], "auprc": score})
    return table[rng.random(len(table)) >= missing]


def run_saltrust(path: Path, formula: str) -> dict[str, float]:
    """Times and estimates of the built-in engine, in this process."""
    from saltrust.analysis.mixed.model import mixed_model
    from saltrust.analysis.mixed.options import Contrasts, Fitting

    table = pd.read_csv(path, dtype=dict.fromkeys(("image", "reader", "explainer"), "object"))
    start, cpu = time.perf_counter(), time.process_time()
    result = mixed_model(table, formula,
                         contrasts=Contrasts(posthoc="tukey"), fitting=Fitting(engine="builtin"))
    values = {"elapsed": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    tables = result.tables
    values["log_likelihood"] = float(tables["fit"]["log_likelihood"].iloc[0])
    for row in tables["random_effects"].to_dict("records"):
        values[f"variance {row['group']}"] = row["variance"]
    for row in tables["fixed_effects"].to_dict("records"):
        values |= {f"fixed {row['term']}": row["estimate"],
                   f"error {row['term']}": row["std_error"]}
    for row in tables["contrasts"].to_dict("records"):
        pair = f"{row['level_a']} {row['level_b']}"
        values |= {f"contrast {pair}": row["estimate"],
                   f"contrast error {pair}": row["std_error"]}
    return values


def run_once(engine: str, path: Path, formula: str) -> dict[str, float]:
    """One run in a new process."""
    if engine == "saltrust":
        done = subprocess.run([sys.executable, __file__, "--child", str(path), formula], check=True,
                              capture_output=True, text=True)
        values: dict[str, float] = json.loads(done.stdout)
        return values
    output = path.with_name("r.csv")
    subprocess.run(["Rscript", str(R_SIDE), str(path), str(output), formula], check=True,
                   capture_output=True, text=True)
    rows = pd.read_csv(output)
    return dict(zip(rows["name"], rows["value"].astype(float), strict=True))


def disagreement(one: dict[str, float], two: dict[str, float]) -> tuple[float, str]:
    """Largest relative difference of all estimates, and of which."""
    names = (one.keys() | two.keys()) - {"elapsed", "cpu"}
    nan = float("nan")
    gaps = {name: abs(one.get(name, nan) - two.get(name, nan)) / max(abs(two.get(name, nan)), 1e-6)
            for name in names}
    worst = max(gaps, key=lambda name: np.inf if np.isnan(gaps[name]) else gaps[name])
    return gaps[worst], worst


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--explainers", type=int, default=9)
    parser.add_argument("--readers", type=int, default=0,
                        help="of a study of readers; 0: images and explainers alone")
    parser.add_argument("--missing", type=float, default=0.0,
                        help="share of the rows of a study of readers that are left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--require", type=float, default=20.0,
                        help="smallest ratio of lmer's median time to saltrust's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_saltrust(Path(options.child[0]), options.child[1])))
        return
    table = (simulate_readers(options.images, options.explainers, options.readers,
                              options.missing, options.seed) if options.readers
             else simulate(options.images, options.explainers, options.seed))
    formula = OF_READERS if options.readers else FORMULA
    print(f"{len(table)} rows, {options.images} images, {options.explainers} explainers, "
          f"{options.repeats} runs each")
    runs: dict[str, list[dict[str, float]]] = {"lmer": [], "saltrust": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scores.csv")
        table.to_csv(path, index=False)
        for _ in range(options.repeats):
            for engine, of_engine in runs.items():
                of_engine.append(run_once(engine, path, formula))
    medians = {}
    for kind in ("elapsed", "cpu"):
        medians[kind] = {engine: statistics.median(run[kind] for run in of_engine)
                         for engine, of_engine in runs.items()}
        lmer, ours = medians[kind]["lmer"], medians[kind]["saltrust"]
        print(f"{kind:8}  lmer {lmer:8.3f} s   saltrust {ours:8.3f} s   ratio {lmer / ours:6.1f}")
    gap, name = disagreement(runs["saltrust"][0], runs["lmer"][0])
    print(f"largest relative difference {gap:.1e} ({name})")
    tolerance = READERS_TOLERANCE if options.readers else TOLERANCE
    if not gap <= tolerance:
        sys.exit(f"the estimates differ by more than {tolerance}")
    if medians["elapsed"]["lmer"] < options.require * medians["elapsed"]["saltrust"]:
        sys.exit(f"saltrust is less than {options.require:g} times as fast as lmer")


if __name__ == "__main__":
    main()
