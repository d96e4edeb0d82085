"""Every analyze and protocol command, and what it gave before the package was laid out anew.

``python -m tests.golden.commands --write`` runs them all and writes the golden files again;
that is right only where a number was meant to change.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from click.testing import CliRunner
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from saltrust.cli import main
from saltrust.testing import simulate_cubes

GOLDEN = Path(__file__).resolve().parent
#: Meta keys that were given another name since: old -> new.
RENAMED_META: dict[str, str] = {"confidence": "confidence_level"}

_FEW = ("--resamples", "200")
_PAIRS = (*_FEW, "--pairs", "60")
_ONE = ("--finding", "Edema", "--explainer", "gradcam")
_TEST = ("--split", "test")
#: Maps as stored, which is what was scored before explainers declared a reading of their own;
#: with it the old numbers come back.
_RAW = ("--map", "raw")
#: The intervals of areas under ROC curves before those by Newcombe.
_DELONG = ("--interval", "delong")
#: The maps of protocol W before it showed Grad-CAM too.
_NO_GRADCAM = ("--explainer", "guided_backprop", "--explainer", "localizer")

#: {cubes} is the store of a whole study, {guided} one of models trained with gaze, {curves} one
#: with curves of faithfulness, {scores} and
#: {shapes} CSV files of scores, {thresholds} and {probabilities} CSV files of one number a
#: finding, {ratings} one of ratings by readers, {folder} a new folder.
ANALYZE: dict[str, tuple[str, ...]] = {
    "descriptors": ("descriptors", "{cubes}"),
    "descriptors-peer": ("descriptors", "{cubes}", "--definition", "peer", *_TEST),
    "descriptors-grid": ("descriptors", "{cubes}", "--resolution", "grid", "--finding", "Edema"),
    "localization": ("localization", "{cubes}", *_FEW, *_RAW),
    "localization-peer": ("localization", "{cubes}", *_FEW, *_TEST, "--definition", "peer"),
    "localization-cut": ("localization", "{cubes}", *_FEW, *_ONE, "--threshold", "0.3",
                         "--cutoff", "0.4", "--slice", "all"),
    "localization-grid": ("localization", "{cubes}", *_FEW, *_TEST, "--finding", "Edema",
                          "--resolution", "grid", "--bootstrap", "bca", "--margin", "0.05",
                          "--benchmark", "reader-2", "--seed", "3", *_RAW),
    "localization-tuned": ("localization", "{cubes}", *_FEW, *_TEST, "--model", "densenet-1",
                           "--threshold", "{thresholds}", "--cutoff", "{probabilities}",
                           *_RAW),
    "thresholds": ("thresholds", "{cubes}", *_RAW),
    "thresholds-peer": ("thresholds", "{cubes}", *_TEST, "--definition", "peer",
                        "--model", "densenet-1"),
    "thresholds-grid": ("thresholds", "{cubes}", *_ONE, "--grid", "0.25,0.5", "--cutoffs",
                        "0.35,0.55", "--resolution", "grid"),
    "regressions": ("regressions", "{cubes}", "--model", "inception-1", *_RAW),
    "regressions-fits": ("regressions", "{cubes}", "--model", "densenet-1", "--explainer",
                         "gradcam", "--fit", "cluster", "--fit", "mixed", "--fit", "logit"),
    "regressions-peer": ("regressions", "{cubes}", "--definition", "peer", "--explainer",
                         "gradcam", "--adjustment", "holm", "--family", "study"),
    "regressions-scores": ("regressions", "--scores", "{shapes}", "--benchmark", "reader-1",
                           "--adjustment", "bh", "--family", "explainer"),
    "confidence": ("confidence", "{cubes}", *_FEW, "--model", "densenet-1", *_RAW),
    "confidence-peer": ("confidence", "{cubes}", *_FEW, "--definition", "peer", "--model",
                        "densenet-2", "--explainer", "gradcam"),
    "confidence-bootstrap": ("confidence", "{cubes}", *_FEW, *_ONE, "--interval", "bootstrap",
                             "--normalise", "--slice", "all", "--operating-point", "0.4"),
    "confidence-tuned": ("confidence", "{cubes}", *_FEW, *_TEST, "--explainer", "grad",
                         "--model", "inception-1", "--interval", "fisher", "--operating-point",
                         "{probabilities}", "--threshold", "0.4", *_RAW),
    "classification": ("classification", "{cubes}", *_FEW, *_DELONG),
    "classification-newcombe": ("classification", "{cubes}", *_FEW),
    "classification-study": ("classification", "{cubes}", *_FEW, *_DELONG, "--level", "study",
                             "--adjustment", "holm"),
    "classification-bootstrap": ("classification", "{cubes}", *_FEW, "--interval", "bootstrap",
                                 *_TEST),
    "classification-protocol-w": ("classification", "{cubes}", "--interval", "protocol-w",
                                  "--finding", "Edema"),
    "utility": ("utility", "{cubes}", *_FEW, "--model", "densenet-1", "--finding", "Edema",
                "--finding", "Pneumothorax", *_RAW),
    "utility-no-baseline": ("utility", "{cubes}", *_FEW, "--baseline", "none", *_ONE,
                            "--model", "densenet-2"),
    "utility-control": ("utility", "{cubes}", *_FEW, *_TEST, "--posthoc", "control",
                        "--failures", "drop", *_ONE, "--model", "inception-1", "--margin", "0.1"),
    "utility-guided": ("utility", "{guided}", *_FEW, "--model", "plain-1", "--explainer", "grad",
                       "--finding", "Cardiomegaly", "--alpha", "0.01", *_RAW),
    "randomization": ("randomization", "{cubes}", *_PAIRS, "--finding", "Edema"),
    "randomization-text": ("randomization", "{cubes}", *_PAIRS, "--rule", "text", "--ssim",
                           "paper", "--images", "positive", "--finding", "Pneumothorax",
                           "--explainer", "grad"),
    "randomization-preprint": ("randomization", "{cubes}", *_PAIRS, *_TEST, "--rule", "preprint",
                               "--ssim", "raw", "--posthoc", "control", "--failures", "drop",
                               "--explainer", "gradcam"),
    "repeatability": ("repeatability", "{cubes}", *_PAIRS, "--finding", "Pneumothorax"),
    "repeatability-paper": ("repeatability", "{cubes}", *_PAIRS, "--ssim", "paper", "--images",
                            "positive", "--posthoc", "control", "--failures", "drop", *_ONE),
    "repeatability-guided": ("repeatability", "{guided}", *_PAIRS, *_ONE),
    "reproducibility": ("reproducibility", "{cubes}", *_PAIRS, "--finding", "Pneumothorax",
                        "--explainer", "gradcam", "--explainer", "grad"),
    "reproducibility-raw": ("reproducibility", "{cubes}", *_PAIRS, *_TEST, "--ssim", "raw",
                            "--against-value", "0.4", *_ONE, "--model", "densenet-1", "--model",
                            "inception-1"),
    "gaze": ("gaze", "{cubes}", *_FEW, "--model", "densenet-1", *_RAW),
    "gaze-absolute": ("gaze", "{cubes}", *_FEW, *_TEST, "--map", "absolute", "--images", "all",
                      "--source", "saliency", "--explainer", "guided_backprop",
                      "--measure", "correlation", "--measure", "nss", "--measure", "kl"),
    "gaze-heatmaps": ("gaze", "{cubes}", *_FEW, "--reader", "reader-1", "--gaze-threshold", "0.4",
                      "--map", "positive", "--failures", "drop", "--others", "2",
                      "--adjustment", "none", *_ONE),
    "gaze-localizers": ("gaze", "{guided}", *_FEW, "--source", "localizer", "--finding",
                        "Edema", *_RAW),
    "faithfulness": ("faithfulness", "{curves}", *_FEW, "--model", "densenet-1"),
    "faithfulness-drop": ("faithfulness", "{curves}", *_FEW, "--images", "all", "--failures",
                          "drop", "--metric", "deletion", "--metric", "infidelity",
                          "--finding", "Edema", "--confidence-level", "0.9"),
    "perturbation": ("perturbation", "{curves}", *_FEW),
    "froc": ("froc", "{cubes}", *_FEW, "--model", "densenet-1", "--marks-per-map", "5",
             "--minimum-distance", "2"),
    "froc-components": ("froc", "{cubes}", *_FEW, *_ONE, "--marks", "components", "--threshold",
                        "0.6", "--within", "5%", "--lesions", "boxes", "--map", "raw"),
    "specificity": ("specificity", "{cubes}", "--pairs", "60", "--model", "densenet-1",
                    "--overlap", "0.05"),
    "localization-quantus": ("localization", "{cubes}", *_FEW, *_ONE, "--model", "densenet-1",
                             "--resolution", "grid", "--relevance", "quantus", *_RAW),
    "mrmc": ("mrmc", "{cubes}", "--model", "densenet-1"),
    "mrmc-models": ("mrmc", "{cubes}", "--treatment", "model", "--explainer", "gradcam",
                    "--reader", "radiologists", "--reader", "reader-2"),
    "mrmc-ratings": ("mrmc", "--ratings", "{ratings}", "--treatment", "modality", "--cluster",
                     "patient", "--covariance", "delong"),
    "mrmc-fixed": ("mrmc", "--ratings", "{ratings}", "--treatment", "modality", "--fixed",
                   "readers", "--covariance", "unbiased"),
    "mrmc-ai": ("mrmc", "--ratings", "{ratings}", "--treatment", "modality", "--ai", "r4"),
    "localization-by": ("localization", "{cubes}", *_FEW, "--model", "densenet-1", "--by",
                        "view,split", "--non-inferiority", "0.1", "--family", "study"),
    "classification-by": ("classification", "{cubes}", *_FEW, "--by", "view,split"),
    "utility-by": ("utility", "{cubes}", *_FEW, "--model", "densenet-1", "--finding", "Edema",
                   "--by", "view", "--non-inferiority", "0.1"),
    "regressions-by": ("regressions", "{cubes}", "--model", "densenet-1", "--explainer",
                       "gradcam", "--by", "view"),
    "confidence-by": ("confidence", "{cubes}", *_FEW, "--model", "densenet-1", "--explainer",
                      "gradcam", "--by", "view"),
    "mixed": ("mixed", "--scores", "{scores}", "--formula", "iou ~ explainer + (1|image)",
              "--engine", "builtin"),
    "mixed-crossed": ("mixed", "--scores", "{scores}", "--formula",
                      "iou ~ explainer*model + (1|image) + (1|finding)", "--over", "explainer",
                      "--control", "gradcam", "--engine", "builtin", "--df", "kenward-roger"),
    "mixed-nested": ("mixed", "--scores", "{scores}", "--formula",
                     "iou ~ explainer + (1|patient/image)", "--where", "model=densenet-1",
                     "--adjust", "holm", "--ml", "--against-value", "0.2", "--engine",
                     "builtin", "--df", "asymptotic"),
}
PROTOCOL: dict[str, tuple[str, ...]] = {
    "protocol-localization": ("localization", "{cubes}", "-o", "{folder}", *_FEW, "--cutoff",
                              "0.3", "--margin", "0.1", "--model", "densenet-2", "--explainer",
                              "gradcam", "--explainer", "grad", *_RAW),
    "protocol-localization-peer": ("localization", "{cubes}", "-o", "{folder}", *_FEW, *_TEST,
                                   "--definition", "peer", "--model", "densenet-1",
                                   "--explainer", "grad"),
    "protocol-trustworthiness": ("trustworthiness", "{cubes}", "-o", "{folder}", *_PAIRS,
                                 *_ONE),
    "protocol-trustworthiness-faithful": ("trustworthiness", "{curves}", "-o", "{folder}",
                                          *_PAIRS, *_ONE),
    "protocol-guided-training": ("guided-training", "{guided}", "-o", "{folder}", *_FEW,
                                 *_DELONG, *_NO_GRADCAM),
    "protocol-guided-training-named": ("guided-training", "{cubes}", "-o", "{folder}", *_FEW,
                                       "--baseline", "densenet-1", "--level", "study",
                                       "--interval", "bootstrap", "--finding", "Edema",
                                       *_NO_GRADCAM),
}
#: What every explainer declares, the default since: only what it moves.
DECLARED: dict[str, tuple[str, ...]] = {
    "localization-declared": ("localization", "{cubes}", *_FEW, *_TEST),
    "thresholds-declared": ("thresholds", "{cubes}", "--model", "densenet-1"),
    "regressions-declared": ("regressions", "{cubes}", "--model", "densenet-1", "--explainer",
                             "grad"),
    "confidence-declared": ("confidence", "{cubes}", *_FEW, "--model", "densenet-1",
                            "--explainer", "guided_backprop"),
    "utility-declared": ("utility", "{cubes}", *_FEW, "--model", "densenet-1", "--finding",
                         "Edema"),
    "gaze-declared": ("gaze", "{cubes}", *_FEW, *_TEST, "--model", "densenet-1"),
}
#: Of stated values, and of a pilot; {cubes} has 12 patients.
POWER: dict[str, tuple[str, ...]] = {
    "power": ("--comparison", "clustered", "--patients", "20,40", "--images", "1-3", "--effect",
              "0.08,0.1", "--replicates", "100", "--most-patients", "200"),
    "power-pilot": ("{cubes}", "--finding", "Edema", "--pair", "gradcam", "grad", "--effect",
                    "0.02", "--patients", "20,40", "--replicates", "60", "--most-patients", "40"),
}
COMMANDS = {**{name: ("analyze", *command, "--format", "json")
               for name, command in (ANALYZE | DECLARED).items()},
            **{name: ("power", *command, "--format", "json") for name, command in POWER.items()},
            **{name: ("protocol", *command) for name, command in PROTOCOL.items()}}

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\s\"]*")


def make_inputs(folder: Path) -> dict[str, str]:
    """Simulate the stores and write the files of scores that commands read.

    Returns
    -------
    dict of str to str
        What stands for each word in braces, but ``{folder}``.
    """
    findings = ("Cardiomegaly", "Edema", "Pneumothorax")
    simulate_cubes(folder / "study.zarr", patients=12, grid=24, findings=findings, seed=7)
    simulate_cubes(folder / "guided.zarr", patients=10, grid=16, findings=findings[:2], seed=8,
                   parts=("radiograph", "localizer", "gaze", "guidance"))
    simulate_cubes(folder / "curves.zarr", patients=26, images_per_patient=1, grid=16,
                   findings=findings[:2], seed=9,
                   parts=("faithfulness", "perturbation"))
    inputs = {"cubes": str(folder / "study.zarr"), "guided": str(folder / "guided.zarr"),
              "curves": str(folder / "curves.zarr"),
              **{name: str(folder / f"{name}.csv")
                 for name in ("scores", "shapes", "thresholds", "probabilities",
                              "ratings")}}
    Path(inputs["thresholds"]).write_text(
        "finding,threshold\n" + "".join(f"{f},0.{3 + k}\n" for k, f in enumerate(findings)))
    Path(inputs["probabilities"]).write_text(
        "finding,cutoff\n" + "".join(f"{f},0.{3 + k}\n" for k, f in enumerate(findings)))
    _write_scores(inputs)
    rows = ["modality,reader,case,patient,truth,rating"]
    rows += [f"{'AB'[m]},r{r},c{c},p{c // 2},{c // 2 % 2},"
             f"{(c * 31 + m * 17 + r * 43 + c * r * 7 + c * m * 11) % 9 + (3 + m) * (c // 2 % 2)}"
             for m in (0, 1) for r in (1, 2, 3, 4) for c in range(48)]
    Path(inputs["ratings"]).write_text("\n".join(rows) + "\n")
    return inputs


def _write_scores(inputs: Mapping[str, str]) -> None:
    """Made of whole numbers, lest a change of another analysis be met here again."""
    explainers, models = ("gradcam", "grad", "smoothgrad"), ("densenet-1", "densenet-2")
    rows, shapes = ["image,patient,finding,explainer,model,iou"], [
        "image,patient,finding,explainer,model,iou,hit,n_instances,area_ratio,elongation,"
        "irrectangularity"]
    for i in range(36):
        shape = f"{1 + i % 3},{(i * 7 % 19 + 1) / 100},{1 + (i * 5 % 11) / 4},{(i * 3 % 13) / 20}"
        for f, finding in enumerate(("Edema", "Pneumothorax")):
            key = f"image-{i},patient-{i // 2},{finding}"
            for e, explainer in enumerate(explainers):
                for m, model in enumerate(models):
                    jitter = (i * 31 + f * 17 + e * 57 + m * 41 + i * e * 13 + i * m * 5) % 97
                    iou = (20 + 3 * (i % 7) + 6 * (2 - e) + 2 * m + jitter / 4) / 100
                    rows.append(f"{key},{explainer},{model},{iou}")
                    shapes.append(f"{key},{explainer},{model},{iou},{int(jitter > 40)},{shape}")
            for r in (1, 2):
                jitter = (i * 29 + f * 11 + r * 37) % 89
                shapes.append(f"{key},expert,reader-{r},{(45 + 2 * (i % 5) + jitter / 4) / 100},"
                              f"{int(jitter > 20)},{shape}")
    Path(inputs["scores"]).write_text("\n".join(rows) + "\n")
    Path(inputs["shapes"]).write_text("\n".join(shapes) + "\n")


def run_command(name: str, inputs: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Run one command in this process.

    Parameters
    ----------
    name : str
        Of :data:`COMMANDS`.
    inputs : mapping
        From :func:`make_inputs`.
    folder : Path
        Where a protocol may write; must not exist.

    Returns
    -------
    dict
        ``{file: {"meta": ..., "tables": {name: {"columns": ..., "rows": ...}}}}``; of an
        analysis the only file is ``stdout``, a table of a protocol has no ``meta``.
    """
    words = {**inputs, "folder": str(folder)}
    arguments = [word.format(**words) for word in COMMANDS[name]]
    # Drawing a figure is part of the command; turning it into pixels takes most of its time.
    # With one thread, linear algebra adds in one order, and gives the same last digit.
    with threadpool_limits(1), mock.patch.object(Figure, "savefig", _not_drawn):
        done = CliRunner().invoke(main, ["--quiet", *arguments], catch_exceptions=False)
    if done.exit_code:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
    if arguments[0] in {"analyze", "power"}:
        files = {"stdout": json.loads(done.stdout)}
    else:
        files = {str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
                 for part in ("results", "tables")
                 for path in sorted((folder / part).glob("*.json"))}
    parent = str(Path(inputs["cubes"]).parent)
    return {file: _normal(_by_column(content), parent) for file, content in files.items()}


def _by_column(content: Any) -> dict[str, Any]:
    """A result or a table with the names of the columns once."""
    if isinstance(content, list):
        return {"tables": {"table": _table(content)}}
    return {"meta": content["meta"],
            "tables": {name: _table(rows) for name, rows in content["tables"].items()}}


def _table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]}


def _normal(value: Any, folder: str) -> Any:
    """Paths and times become words; numbers keep the digits that are compared and three more."""
    if isinstance(value, dict):
        return {key: "VERSION" if "version" in key else _normal(item, folder)
                for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item, folder) for item in value]
    if isinstance(value, str):
        return _TIME.sub("TIME", value.replace(folder, "FOLDER"))
    if isinstance(value, float):
        return float(f"{value:.12g}")
    return value


def _not_drawn(_figure: Figure, *_arguments: Any, **_options: Any) -> None:
    """In the place of ``Figure.savefig``; a function, since pyplot copies its documentation."""


def read_golden(name: str) -> dict[str, Any]:
    """What a command gave when the golden files were written."""
    with gzip.open(GOLDEN / "expected" / f"{name}.json.gz", "rt", encoding="utf-8") as stream:
        return json.load(stream)


def write_golden(name: str, files: Mapping[str, Any]) -> Path:
    """Write one row of a table to a line, so that `zdiff` shows what differs."""
    parts = []
    for file, content in files.items():
        tables = ",\n".join(
            f"{json.dumps(table)}: {{\"columns\": {json.dumps(rows['columns'])}, \"rows\": [\n"
            + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows["rows"]) + "\n]}"
            for table, rows in content["tables"].items())
        meta = f'"meta": {json.dumps(content["meta"], indent=1)},\n' if "meta" in content else ""
        parts.append(f'{json.dumps(file)}: {{{meta}"tables": {{\n{tables}\n}}}}')
    path = GOLDEN / "expected" / f"{name}.json.gz"
    path.parent.mkdir(exist_ok=True)
    text = "{" + ",\n".join(parts) + "}\n"
    # Without a time or a name, the same content is the same file.
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return path


def _write(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        inputs = make_inputs(Path(temporary))
        for name in names:
            before = os.times()
            path = write_golden(name, run_command(name, inputs, Path(temporary) / f"out-{name}"))
            after = os.times()
            print(f"{name}: {after.user + after.system - before.user - before.system:.1f} s CPU, "
                  f"{path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("names", nargs="*", help="only these commands")
    _write(parser.parse_args().names or list(COMMANDS))
