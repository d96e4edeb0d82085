"""Recompute what docs/explainers.md shows of readings on the demo; exit 1 where it is untrue.

Run by ``make evidence``.  ``python evidence/readings.py DIR`` takes a folder that ``saltrust demo``
has written in the place of a new one, and prints the table of the page anew.  Training differs
between processors, and so do the numbers; what is required is what the page says of them.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
from promises import require, run

from saltrust import Execution, Scoring, open_cubes
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.explainers.registry import BUILT_IN

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explainers.md"
#: Where the defaults would take long for a page.
PARAMETERS = {"smooth_ig": {"samples": 5, "steps": 10}, "occlusion": {"window": 16, "stride": 8}}
#: The network of the demo has no attention.
OF_TRANSFORMERS = ("attention_rollout", "chefer", "attnlrp")
COLUMNS = ("reading", "IoU raw", "IoU auto", "hit raw", "hit auto", "over half raw",
           "over half auto")


def every_explainer(folder: Path) -> Path:
    """The demo's test images explained by every method but those for transformers."""
    study, cubes = folder / "every.toml", folder / "every.zarr"
    if not cubes.exists():
        names = ", ".join(
            f'{{name = "{name}", parameters = {{'
            + ", ".join(f"{key} = {value}" for key, value in PARAMETERS.get(name, {}).items())
            + "}}" for name in BUILT_IN if name not in OF_TRANSFORMERS)
        text = re.sub(r"^explainers = .*$", f"explainers = [{names}]",
                      (folder / "study.toml").read_text(), flags=re.MULTILINE)
        study.write_text(text)
        run("--quiet", "generate", study, "-o", cubes)
    return cubes


def by_reading(path: Path) -> pd.DataFrame:
    """Mean IoU, hit rate, and share of masks over half of the image, raw and as declared.

    Over all images and findings whose reference is not empty.
    """
    cubes, columns = open_cubes(path), {}
    for word in ("raw", "auto"):
        scored = score_maps(cubes, Scoring(map=word), Execution(), readers=False)
        assert scored.scan is not None
        pixels = int(scored.scan["total"].values.sum(axis=1).max())
        rows = scored.table[scored.table["area_reference"] > 0]
        groups = rows.assign(over=rows["area_predicted"] > pixels / 2).groupby("explainer",
                                                                               sort=False)
        columns |= {f"IoU {word}": groups["iou"].mean(), f"hit {word}": groups["hit"].mean(),
                    f"over half {word}": groups["over"].mean()}
        readings = scored.meta["map_readings"]
    table = pd.DataFrame(columns)
    return table.assign(reading=table.index.map(readings))[list(COLUMNS)]


def as_markdown(table: pd.DataFrame) -> str:
    """The rows of the page."""
    lines = ["| explainer | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in table.iterrows():
        numbers = [f"{row[column]:.3f}" if column.startswith("IoU") else f"{row[column]:.2f}"
                   for column in COLUMNS[1:]]
        lines.append(f"| `{name}` | {row['reading']} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def the_page_is_true(table: pd.DataFrame) -> str:
    """What docs/explainers.md says of the demo, in words that no processor changes."""
    signed = table[table["reading"] != "raw"]
    worse = signed[signed["IoU auto"] <= signed["IoU raw"]]
    require(worse.empty, f"the IoU of {', '.join(worse.index)} does not rise as declared")
    require(bool((signed["over half auto"] <= signed["over half raw"]).all()),
            "masks over half of an image become more")
    before, now = (table.loc["grad", f"over half {word}"] for word in ("raw", "auto"))
    require(before > 0.2 and now < 0.01,
            f"masks of grad over half of the image: {table.loc['grad'].to_dict()}")
    turned = table[table["reading"] == "absolute"]
    require(turned["hit auto"].mean() < turned["hit raw"].mean(),
            "absolute values do not cost hits on phantoms")
    alike = table[table["reading"] == "raw"]
    require(bool((alike["IoU auto"] == alike["IoU raw"]).all()), "raw maps move")
    listed = set(re.findall(r"^\| `(\w+)` \| (?:raw|absolute|positive) \| [\d.]+ \|",
                            PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    require(listed == set(table.index), f"the page lists {sorted(listed)}")
    return json.dumps(table.loc["grad"].to_dict())


def main() -> None:
    """Run the demo where no folder was named, print the table, check the page."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary, "demo")
        if not (folder / "study.zarr").exists():
            run("--quiet", "demo", "-o", folder)
        table = by_reading(every_explainer(folder))
        print(as_markdown(table))
        print(f"the_page_is_true: {the_page_is_true(table)}")


if __name__ == "__main__":
    main()
