"""Train localizers on phantoms and compare them with heatmaps; exit 1 where a promise is untrue.

Run by ``make evidence``.  Protocol A's ordering: a U-Net that was trained on masks beats the
average mask and every explainer in AUPRC, per finding, by ``saltrust analyze utility``; a RetinaNet
that was trained on boxes, and is run without non-maximum suppression, beats every explainer.  Two
seeds of each give the high baselines of repeatability.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from promises import run, tables

EXPLAINERS = ("grad", "smoothgrad", "ig", "gradcam", "xrai", "guided_gradcam")
METRICS = ("auprc", "average_precision")

STUDY = f"""\
name = "localizers"
seed = 5
grid = 64
explainers = {list(EXPLAINERS)!r}

[data]
kind = "phantom"
patients = 1000
size = 128
findings = ["Pneumothorax", "Pleural Effusion", "Cardiomegaly"]
split_fractions = [0.7, 0.12, 0.18]

[generate]
batch_size = 16
"""

CLASSIFIER = """
[[models]]
name = "net-{seed}"
architecture = "phantom_net"
seed = {seed}
train = {{ epochs = 10, learning_rate = 2e-3, patience = 8, augment = true }}
"""

UNET = """
[[localizers]]
name = "unet-{seed}"
architecture = "unet"
seed = {seed}
arguments = {{ encoder_name = "resnet18", encoder_depth = 4, decoder_channels = [64, 32, 16, 16] }}

[localizers.train]
epochs = 14
learning_rate = 1e-3
batch_size = 8
plateau_factor = 0.3
plateau_patience = 1
"""

RETINANET = """
[[localizers]]
name = "retinanet-{seed}"
architecture = "retinanet"
findings = ["Pleural Effusion", "Cardiomegaly"]
seed = {seed}
train = {{ epochs = 10, learning_rate = 1e-3, batch_size = 8 }}

[localizers.arguments]
backbone = "resnet18"
channels = 64
in_channels = 1
image_size = 96
anchor_sizes = [12, 24, 36, 48, 72]
"""


def utility(cubes: Path) -> list[str]:
    """Print who localises how well; return what is untrue."""
    untrue = []
    summary = tables("utility", cubes, "--split", "test")["summary"]
    for finding in dict.fromkeys(row["finding"] for row in summary):
        its_rows = [row for row in summary if row["finding"] == finding]
        print(f"\n{finding} (n = {its_rows[0]['n']} positive test images)")
        print(f"  {'map':<16}{'model':<14}{'AUPRC':>8}{'AP':>8}{'AUROC':>8}{'image AUC':>11}")
        for row in sorted(its_rows, key=lambda row: -row["average_precision_mean"]):
            auc = row["image_auc"]
            print(f"  {row['explainer']:<16}{row['model']:<14}{row['auprc_mean']:8.3f}"
                  f"{row['average_precision_mean']:8.3f}{row['auroc_mean']:8.3f}"
                  + (f"{auc:11.3f}" if auc is not None else f"{'':>11}"))
        for metric in METRICS:
            values = {(row["explainer"], row["model"]): row[f"{metric}_mean"] for row in its_rows}
            localizers = {name: value for name, value in values.items()
                          if name[0].startswith(("unet", "retinanet"))}
            missing = {"unet-1", "unet-2"} - {name for name, _ in localizers}
            if missing:
                untrue.append(f"{finding}: there are no maps of {', '.join(sorted(missing))}")
            for name, reached in localizers.items():
                # Phantoms have one finding in one place, which a mean of masks knows as well.
                beaten = {other: value for other, value in values.items()
                          if other not in localizers
                          and (name[0].startswith("unet") or other[0] != "average-mask")}
                better = [" ".join(other).strip() for other, value in beaten.items()
                          if value >= reached]
                if better:
                    untrue.append(f"{finding}: {name[0]} is not above {', '.join(better)} in "
                                  f"{metric}")
    return untrue


def repeatability(cubes: Path) -> list[str]:
    """Print how alike two seeds are; return what is untrue."""
    summary = tables("repeatability", cubes, "--split", "test")["summary"]
    print("\nSSIM of two seeds (mean over test images; by chance, between different images)")
    for row in summary:
        print(f"  {row['finding']:<18}{row['explainer']:<22}{row['ssim_mean']:8.3f}"
              f"{row['different_mean']:8.3f}")
    kinds = {row["explainer"] for row in summary}
    missing = {"localizer unet", "localizer retinanet"} - kinds
    return [f"repeatability has no {', '.join(sorted(missing))}"] if missing else []


def main() -> None:
    """Train, generate, analyse, and say what was found."""
    with tempfile.TemporaryDirectory() as folder:
        study, cubes = Path(folder, "study.toml"), Path(folder, "study.zarr")
        study.write_text(STUDY + "".join(part.format(seed=seed) for part in
                                         (CLASSIFIER, UNET, RETINANET) for seed in (1, 2)))
        run("train", study)
        for card in sorted(Path(folder, "runs").glob("*/model.json")):
            facts = json.loads(card.read_text())
            print(f"{facts['name']}: {facts['kind']}, best epoch {facts['best_epoch']}, mean test "
                  f"AUC {facts['test_auc']['mean']:.3f}")
        run("generate", study, "-o", cubes)
        untrue = [*utility(cubes), *repeatability(cubes)]
    if untrue:
        sys.exit("untrue: " + "; ".join(untrue))
    print("\nIn AUPRC and average precision, for every finding: every U-Net is above the average "
          "mask and every explainer, every RetinaNet above every explainer.")


if __name__ == "__main__":
    main()
