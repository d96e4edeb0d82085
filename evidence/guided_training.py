"""Recompute what docs/guided_training.md says of guided training; exit 1 where it is untrue.

Run by ``make evidence``: a few minutes on two cores.  Radiographs are phantoms whose simulated
reader looks at the findings with noise and centre bias; everything is computed by the command line,
as a user would.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from promises import require, run, tables

SEEDS = (1, 2, 3)
#: Loss, rule of the map, seeds.
ARMS = (
    ("classification", "", (1,)), ("decoder", "", SEEDS),
    ("set1", "guided_backprop", (1,)), ("set1", "deconvnet", (1,)),
    ("set2", "guided_backprop", (1,)), ("set2", "deconvnet", (1,)),
    ("set3", "guided_backprop", SEEDS), ("set3", "deconvnet", (1,)),
)
STUDY = """\
name = "guided training"
seed = 1
grid = 64
explainers = ["guided_backprop", "deconvnet"]

[data]
kind = "phantom"
patients = 360
size = 96
gaze = true
findings = ["Cardiomegaly", "Pleural Effusion", "Airspace Opacity"]
split_fractions = [0.6, 0.15, 0.25]

[train]
epochs = 22
patience = 22
learning_rate = 3e-3
augment = true
"""
MODEL = """
[[models]]
name = "{name}"
architecture = "phantom_unet"
seed = {seed}
arguments = {{width = 8}}
guidance = {{loss = "{loss}"{rule}}}
"""
#: Measures of agreement, and whether more is better.
MEASURES = {"correlation": True, "auc_judd": True, "nss": True, "kl": False}
#: Mean AUC on test images below which a network has learned too little to be asked where it looks.
LEARNED = 0.65
#: Seconds of CPU that one model may take.
MINUTES = 240


def name_of(loss: str, rule: str, seed: int) -> str:
    """Name of a model of the study."""
    return "-".join(part for part in (loss, rule, str(seed)) if part)


def train(folder: Path) -> Path:
    """Every loss and rule trains in minutes on two cores; the study file."""
    study = folder / "study.toml"
    models = [(name_of(loss, rule, seed), loss, rule, seed)
              for loss, rule, seeds in ARMS for seed in seeds]
    study.write_text(STUDY + "".join(
        MODEL.format(name=name, seed=seed, loss=loss, rule=f', rule = "{rule}"' if rule else "")
        for name, loss, rule, seed in models))
    start, before = time.perf_counter(), os.times()
    with ThreadPoolExecutor(2) as pool:
        # Every second model: those with maps, which take longer, are in both halves.
        halves = [[part for name, *_ in models[k::2] for part in ("--model", name)] for k in (0, 1)]
        list(pool.map(lambda half: run("train", study, *half), halves))
    after = os.times()
    each = (sum(after[2:4]) - sum(before[2:4])) / len(models)
    wall = time.perf_counter() - start
    print(f"{len(models)} models, two at a time: {wall:.0f} s, each {each:.0f} s of CPU",
          flush=True)
    require(each < MINUTES, f"a model takes {each:.0f} s of CPU")
    for name, loss, rule, _ in models:
        card = json.loads((folder / "runs" / name / "model.json").read_text())
        area = card["test_auc"]["mean"]
        print(f"{name}: test AUC {area:.3f}", flush=True)
        require(card["complete"] and card["guidance"]["loss"] == loss, "the card is not right")
        require(("map" in card["guidance"]) == bool(rule), "the card does not say what the map is")
        require(area > LEARNED, f"{name} has learned too little (test AUC {area:.3f})")
    return study


def agreement(cubes: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """``saltrust analyze gaze`` on the absolute values of maps, by map, model and measure."""
    summary = tables("gaze", cubes, "--split", "test", "--map", "absolute")["summary"]
    rows = [row for row in summary if row["finding"] == "all"]
    return {(row["explainer"], row["model"], row["term"]): row for row in rows}


def raised(rows: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    """Set 3 with guided backpropagation raises the agreement of the maps, over three seeds."""
    for measure, more in MEASURES.items():
        pairs = []
        for seed in SEEDS:
            base, guided = (rows["guided_backprop", name_of(loss, rule, seed), measure]["estimate"]
                            for loss, rule in (("decoder", ""), ("set3", "guided_backprop")))
            pairs.append((base, guided))
            require((guided > base) == more and guided != base,
                    f"{measure} of the maps, seed {seed}: baseline {base:.3f}, set 3 {guided:.3f}")
        print(f"{measure} of guided_backprop with gaze, baseline -> set 3: "
              + ", ".join(f"{base:.3f} -> {guided:.3f}" for base, guided in pairs), flush=True)
    # Not promised, and to be known: agreement may be with where people look on any radiograph.
    pairs = [tuple(rows["guided_backprop", name_of(loss, rule, seed), "auc_shuffled"]["estimate"]
                   for loss, rule in (("decoder", ""), ("set3", "guided_backprop")))
             for seed in SEEDS]
    print("auc_shuffled (against gaze on other images; 0.5 tells nothing of this one): "
          + ", ".join(f"{base:.3f} -> {guided:.3f}" for base, guided in pairs), flush=True)
    # The same for the other rule and for set 1; a decoder learns the gaze, or else the map.
    for loss, rule in (("set1", "guided_backprop"), ("set1", "deconvnet"), ("set3", "deconvnet")):
        base, guided = (rows[rule, name, "correlation"]["estimate"]
                        for name in ("decoder-1", name_of(loss, rule, 1)))
        print(f"correlation of {rule} with gaze, baseline -> {loss}: {base:.3f} -> {guided:.3f}",
              flush=True)
        require(guided > base, f"{loss} with {rule} does not raise the agreement")
    learned, unlearned = (rows["localizer", name, "correlation"]["estimate"]
                          for name in ("decoder-1", "set2-guided_backprop-1"))
    average = rows["average-gaze", "", "correlation"]["estimate"]
    print(f"correlation of the decoder with gaze: {learned:.3f} trained against it, "
          f"{unlearned:.3f} against the map; average gaze of other patients {average:.3f}",
          flush=True)
    require(learned > unlearned, "the decoder of set 2 looks where the reader looks")


def protocol(cubes: Path, folder: Path) -> None:
    """Tables 1 to 4 of the protocol; the differences are beyond chance in every seed."""
    run("protocol", "guided-training", cubes, "-o", folder)
    for name in ("table1", "table2", "table3", "table4"):
        for form in (name, f"{name}_paper"):
            require((folder / f"tables/{form}.tex").exists(), f"there is no {form}")
    for name in ("roc", "calibration", "examples_guided_backprop", "examples_deconvnet"):
        require((folder / f"figures/{name}.png").exists(), f"there is no figure {name}")
    result = json.loads((folder / "results/gaze.json").read_text())
    require(result["meta"]["split"] == "test", "agreement is not of the test images")
    rows = {row["model"]: row for row in result["tables"]["against_baseline"]
            if (row["finding"], row["explainer"], row["term"]) == (
                "all", "guided_backprop", "correlation")}
    for seed in SEEDS:
        row = rows[name_of("set3", "guided_backprop", seed)]
        print(f"{row['model']} less {row['baseline']}: correlation {row['estimate']:+.3f} "
              f"({row['conf_low']:+.3f}, {row['conf_high']:+.3f}), adjusted p "
              f"{row['p_adjusted']:.3f}", flush=True)
        require(row["baseline"] == name_of("decoder", "", seed), "the baseline is of another seed")
        require(row["conf_low"] > 0, "the interval of the difference includes 0")


def main() -> None:
    """Check everything and print what was found."""
    # Two models are trained at a time, each on a core of its own.
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, cubes = train(folder), folder / "study.zarr"
        run("generate", study, "-o", cubes)
        raised(agreement(cubes))
        protocol(cubes, folder / "protocol")


if __name__ == "__main__":
    main()
