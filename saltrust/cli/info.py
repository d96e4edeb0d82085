"""``saltrust info``: what is in a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from saltrust.cli.options import PathType
from saltrust.cli.output import say
from saltrust.errors import UsageError

if TYPE_CHECKING:
    from saltrust.explainers.passes.layouts import FeatureLayer

#: Height and width of the image that shows the order of a network's layers.
_GRID = 128


@click.command()
@click.argument("cubes", type=PathType(path_type=Path), metavar="[CUBES]", required=False)
@click.option("--model", "architecture", metavar="ARCHITECTURE",
              help="Instead of CUBES: the stages in which a model of this architecture (a name "
                   "or package.module:factory) is randomised, from the top down, and the layer "
                   "that each explainer takes.")
@click.option("--grid", type=click.IntRange(1, 4096), default=_GRID, show_default=True,
              help="Height and width of the image that the model is tried on, as in a study; "
                   "vision transformers take one size only.")
@click.option("--explainers", is_flag=True,
              help="Instead of CUBES: the explainers that a study may name, of saltrust, captum "
                   "and pytorch_grad_cam, with what of their maps is scored and what they cost.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, everything in it.")
def info(cubes: Path | None, architecture: str | None, grid: int, explainers: bool,
         as_json: bool) -> None:
    """Say what is in a store: labels, models, explainers, completeness, size, provenance.

    Or, with --model, which stages an architecture has for [randomization] of a study, which
    explainers work with it, and which layer they take.  Or, with --explainers, which explainers
    there are, such as captum's: saltrust info --explainers
    """
    if sum((cubes is not None, architecture is not None, explainers)) != 1:
        raise UsageError("give one of CUBES, --model ARCHITECTURE and --explainers")
    if explainers:
        _show_explainers(as_json)
        return
    if architecture is not None:
        _show_model(architecture, grid, as_json)
        return
    from saltrust.analysis.result import plain
    from saltrust.cache.inspection import describe
    from saltrust.cache.store import open_cubes

    assert cubes is not None
    description = plain(describe(open_cubes(cubes)))
    if as_json:
        say(json.dumps(description, indent=2, allow_nan=False), form="json")
    else:
        say("\n".join(_lines(description)))


def _show_explainers(as_json: bool) -> None:
    import dataclasses

    from saltrust.explainers.listing import list_explainers

    rows = list_explainers()
    if as_json:
        say(json.dumps({"explainers": [
            {**dataclasses.asdict(row), "works": not row.reason} for row in rows]}, indent=2),
            form="json")
        return
    width = max(len(row.name) for row in rows)
    for source in dict.fromkeys(row.source for row in rows):
        say(f"of {source}")
        for row in rows:
            if row.source == source:
                outcome = (f"cannot: {row.reason}" if row.reason
                           else ", ".join(filter(None, (f"ok, read {row.reading}", row.cost))))
                say(f"  {row.name:<{width}}  {outcome}")


def _show_model(architecture: str, grid: int, as_json: bool) -> None:
    import torch

    from saltrust.cache.stage_names import paper_stages
    from saltrust.explainers.trial import try_explainers
    from saltrust.models.answer import answer_with_logits
    from saltrust.models.classifiers.libraries.registry import located
    from saltrust.models.classifiers.registry import build
    from saltrust.models.contract import preprocessing_of, settle_output
    from saltrust.models.preprocessing import to_input
    from saltrust.models.stages import natural_stages
    from saltrust.models.trial import Expected, try_network
    from saltrust.models.user_code import importable_from

    with importable_from(Path.cwd()):
        module = build(located(architecture, Path.cwd()), 1)
    preprocessing = preprocessing_of(architecture, module)
    answer, outputs = settle_output(module, ("finding",))
    trial = try_network(module, Expected(architecture, preprocessing, (grid, grid), len(outputs),
                                         answer))
    answer_with_logits(module, trial.answer)
    black = torch.zeros(1, grid, grid, dtype=torch.uint8)
    sizes = {name: tensor.numel() for name, tensor in module.named_parameters()}
    natural = natural_stages(module, to_input(black, preprocessing))
    named = paper_stages([stage.name for stage in natural])
    stages = [{"stage": stage.name, "parameters": sum(sizes.get(name, 0) for name in stage.entries),
               **({"paper_stage": named.get(stage.name, "")} if named else {})}
              for stage in natural]
    explainers = [
        {"explainer": trial.name, "works": not trial.reason, "reason": trial.reason,
         "layers": [_described(layer) for layer in trial.layers]}
        for trial in try_explainers(module, to_input(black, preprocessing))]
    if as_json:
        say(json.dumps({"architecture": architecture, "stages": stages,
                        "explainers": explainers}, indent=2), form="json")
        return
    say(f"{architecture}: stages of randomization from the top, with one output")
    width = max(len(str(row["stage"])) for row in stages)
    for row in stages:
        paper = f"  {row['paper_stage']} of the paper" if row.get("paper_stage") else ""
        say(f"  {row['stage']:<{width}}  {row['parameters']:>12,} parameters{paper}")
    say("explainers, on images of "
               f"{grid} x {grid}, with the layer they take where none is named")
    width = max(len(str(row["explainer"])) for row in explainers)
    for row in explainers:
        layers = ", ".join(map(_layer, cast("list[dict[str, Any]]", row["layers"])))
        outcome = (layers or "works") if row["works"] else f"does not work: {row['reason']}"
        say(f"  {row['explainer']:<{width}}  {outcome}")


def _described(layer: FeatureLayer) -> dict[str, Any]:
    return {"name": layer.name, "kind": layer.layout.kind, "grid": list(layer.layout.grid),
            "before": layer.layout.before, "channels": layer.channels}


def _layer(layer: dict[str, Any]) -> str:
    height, width = layer["grid"]
    before = f" after {layer['before']}" if layer["before"] else ""
    return (f"{layer['name']} ({layer['kind']}, {height} x {width}{before}, "
            f"{layer['channels']} channels)")


def _lines(content: dict[str, Any]) -> list[str]:
    grid = content["grid"]
    patients = f" of {content['patients']} patients" if content["patients"] else ""
    lines = [
        f"{content['path']}  ({_size(content['size_on_disk'])}, schema {content['schema']})",
        f"images      {content['images']}{patients}"
        + (f", grid {grid[0]} x {grid[1]}" if grid else ""),
    ]
    if content["splits"]:
        lines.append("splits      " + _counts(content["splits"]))
    if content["views"]:
        lines.append("views       " + _counts(content["views"]))
    if content["covariates"]:
        lines.append("covariates  " + ", ".join(content["covariates"]))
    lines += _radiographs(content)
    lines.append("findings")
    width = max((len(name) for name in content["findings"]), default=0)
    lines += [f"  {name:<{width}}  " + _counts(counts, skip_zero=True)
              for name, counts in content["findings"].items()]
    for plural, dim in (("readers", "reader"), ("models", "model"), ("localizers", "model"),
                        ("explainers", "explainer")):
        if content[plural]:
            lines.append(plural)
        for entry in content[plural]:
            rest = {key: str(value)[:16] if key == "checkpoint" else value
                    for key, value in entry.items() if key != dim and value not in ("", "{}")}
            lines.append(f"  {entry[dim]}  "
                         + ", ".join(f"{key} {value}" for key, value in rest.items()))
    lines += _captum(content["captum_agreement"])
    lines.append("groups")
    for name, group in content["groups"].items():
        complete = _counts(group["complete"])
        lines.append(f"  /{name:<13} {_size(group['bytes']):>9}  {complete}")
    lines.append("provenance")
    lines += [f"  {key}: {_short(value)}" for key, value in content["provenance"].items()]
    if content["problems"]:
        lines.append("PROBLEMS")
        lines += [f"  {problem}" for problem in content["problems"]]
    if content["warnings"]:
        lines.append("warnings")
        lines += [f"  {warning}" for warning in content["warnings"]]
    return lines


def _captum(agreement: dict[str, Any]) -> list[str]:
    """How well maps agree with captum's, by model."""
    lines = []
    for model, of_model in agreement.items():
        lines.append(f"captum      {model}, {of_model.get('images')} images")
        for name, summary in of_model["explainers"].items():
            if "cannot" in summary:
                outcome = (f"captum cannot: {summary['cannot']}" if "class" in summary
                           else str(summary["cannot"]))
            else:
                outcome = (f"{summary.get('class')}: median correlation "
                           f"{_digits(summary.get('pearson_median'))}, of ranks "
                           f"{_digits(summary.get('spearman_median'))}")
            lines.append(f"  {name}  {outcome}")
    return lines


def _digits(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _radiographs(content: dict[str, Any]) -> list[str]:
    """What became of radiographs, where not all are as they should be."""
    lines = []
    known = content["radiographs"]
    if known and (known["counts"]["doubtful"] or known["counts"]["left_out"]):
        lines.append("radiographs " + _counts(known["counts"], skip_zero=True))
        for kind, remarks in known["remarks"].items():
            lines += [f"  {kind.replace('_', ' ')}: {image}: {remark}"
                      for image, remark in remarks.items()]
            more = known["counts"][kind] - len(remarks)
            lines += [f"  {kind.replace('_', ' ')}: and {more} more"] if more else []
    files = content["left_out"]
    if files:
        endings = ", ".join(f"{count} {ending}" for ending, count in files["endings"].items())
        lines.append(f"left out    {files['files']} file{'s' if files['files'] > 1 else ''}: "
                     f"{endings} (first: {files['first']})")
    return lines


def _counts(counts: dict[str, int], *, skip_zero: bool = False) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()
                     if count or not skip_zero)


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def _short(value: Any, limit: int = 90) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else text[:limit - 3] + "..."
