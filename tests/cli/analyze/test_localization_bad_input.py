"""Odd studies from the command line: everything is named and counted, nothing crashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.schema import Status
from saltrust.cache.writing import create_store

Mask = npt.NDArray[np.bool_]
SIZE = (40, 50)
FINDINGS = ["Edema", "Mass"]
COMMANDS = ("localization", "descriptors", "regressions", "confidence", "thresholds")


def blob(k: int, finding: int) -> Mask:
    """A rectangle of its own size, place and number of parts."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[3 + k % 7:12 + 2 * (k % 5), 5 + finding:15 + k % 11] = True
    if k % 3 == 0:
        mask[30:33 + k % 4, 30:45] = True
    return mask


def write(path: Path, n: int, *, drawn: Callable[[int, int], Mask] = blob,
          expert: Callable[[int, int], bool] = lambda k, finding: True,
          reference: Callable[[int, int], bool] = lambda k, finding: True,
          codes: Mapping[tuple[int, int], str] | None = None) -> Path:
    """Cubes of n images and two findings; maps of 16 x 16 over masks of 40 x 50 pixels."""
    index = xr.Dataset(coords={
        "image": [f"i{k}" for k in range(n)], "finding": FINDINGS,
        "reader": ["truth", "expert"], "reader_role": ("reader", ["reference", "benchmark"])})
    writer = create_store(path, index=index, grid=(16, 16),
                          groups=("reference", "prediction", "saliency"), n_points=1,
                          models=xr.Dataset(coords={"model": ["net"]}),
                          explainers=xr.Dataset(coords={"explainer": ["grad"]}))
    generator = np.random.default_rng(n)
    annotated = np.zeros((n, 2, 2), dtype=bool)
    masks = np.full((n, 2, 2), "", dtype=object)
    label = np.zeros((n, 2), dtype=np.int8)
    points = np.full((2, n, 2, 2, 1), np.nan, dtype=np.float32)
    for k, finding in np.ndindex(n, 2):
        mask = drawn(k, finding)
        label[k, finding] = mask.any()
        annotated[k, finding] = reference(k, finding), expert(k, finding)
        code = (codes or {}).get((k, finding)) or rle.encode(mask)
        masks[k, finding] = code, rle.encode(np.roll(mask, 2, axis=1))
        if mask.any() and expert(k, finding):
            points[:, k, finding, 1, 0] = np.argwhere(mask)[0]
    masks[~annotated] = ""
    writer.write("reference/label", slice(None), label)
    writer.write("reference/annotated", slice(None), annotated)
    writer.write("reference/mask_rle", slice(None), masks.astype(np.dtypes.StringDType()))
    for name, values in zip(("point_y", "point_x"), points, strict=True):
        writer.write(f"reference/{name}", slice(None), values)
    for name, size in zip(("native_height", "native_width"), SIZE, strict=True):
        writer.write(name, slice(None), np.full(n, size, dtype=np.int32))
    writer.write("prediction/probability", slice(None),
                 generator.random((n, 2, 1)).astype(np.float32))
    writer.write("saliency/heatmap", slice(None),
                 generator.random((n, 2, 1, 1, 16, 16)).astype(np.float32))
    writer.write("saliency/status", slice(None), np.full((n, 2, 1, 1), Status.OK, dtype=np.uint8))
    return writer.finish()


def tables(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout, parse_constant=pytest.fail)


def check_notes(content: dict[str, Any]) -> None:
    """What has no estimate, or an estimate without an interval, says why."""
    for name, rows in content["tables"].items():
        for row in rows:
            if "note" in row and "estimate" in row and row["term"] not in ("ece", "auc"):
                assert row["n"] is not None
                if row["estimate"] is None or row["conf_low"] is None:
                    assert row["note"], (name, row)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_two_or_three_images(run, tmp_path: Path, n: int, command: str) -> None:
    cubes = write(tmp_path / "s.zarr", n)
    fits = ["--fit", "mixed", "--fit", "logit"] if command == "regressions" else []
    result = run("-q", "analyze", command, cubes, "--format", "json", *fits)
    if result.exit_code == 1:
        # Two findings of one image are two rows: too few for any line.
        assert (n, command) in {(1, "regressions"), (1, "confidence")}
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert "needed" in result.stderr
        return
    check_notes(tables(result))


@pytest.mark.parametrize("n", [1, 3])
def test_the_protocol_of_a_handful_of_images(run, tmp_path: Path, n: int) -> None:
    cubes = write(tmp_path / "s.zarr", n)
    result = run("-q", "protocol", "localization", cubes, "-o", tmp_path / "out", "--resamples",
                 "50", "--margin", "0.05")
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "out" / "methods.md").read_text()
    assert f"scored on {n} images" in text
    assert ("- regressions: " in text) == (n == 1)
    assert (tmp_path / "out" / "tables" / "table1.md").stat().st_size


def test_a_finding_without_a_positive_keeps_its_rows(run, tmp_path: Path) -> None:
    empty = np.zeros(SIZE, dtype=bool)
    cubes = write(tmp_path / "s.zarr", 12,
                  drawn=lambda k, finding: empty if finding else blob(k, finding))
    content = tables(run("-q", "analyze", "localization", cubes, "--format", "json",
                       "--resamples", "50"))
    check_notes(content)
    of_mass = [row for row in content["tables"]["summary"] if row["finding"] == "Mass"]
    assert {row["n"] for row in of_mass} == {0}
    related = tables(run("-q", "analyze", "confidence", cubes, "--format", "json"))
    check_notes(related)
    assert related["meta"]["exclusions"] == {"an empty reference mask": 12}
    shapes = tables(run("-q", "analyze", "descriptors", cubes, "--format", "json"))
    assert shapes["meta"]["empty_masks"] == 24
    tuned = tables(run("-q", "analyze", "thresholds", cubes, "--format", "json"))
    row = next(row for row in tuned["tables"]["thresholds"] if row["finding"] == "Mass")
    assert (row["threshold"], row["note"]) == (None, "no threshold: no map in the slice")


def test_a_reader_missing_for_some_images_is_counted(run, tmp_path: Path) -> None:
    cubes = write(tmp_path / "s.zarr", 12, expert=lambda k, finding: k >= 4)
    content = tables(run("-q", "analyze", "localization", cubes, "--format", "json",
                       "--resamples", "50"))
    rows = {row["explainer"]: row["n"] for row in content["tables"]["summary"]
            if row["finding"] == "Edema" and row["metric"] == "iou"}
    assert rows == {"grad": 12, "expert": 8}
    (fall,) = [row for row in content["tables"]["decrease"]
               if row["finding"] == "Edema" and row["metric"] == "iou"]
    assert fall["n"] == 8
    fitted = tables(run("-q", "analyze", "regressions", cubes, "--format", "json"))
    assert fitted["meta"]["exclusions"] == {"no score of a benchmark reader": 8}
    assert {row["n"] for row in fitted["tables"]["estimates"]} == {16}


def test_images_without_a_reference_are_counted_and_no_negatives(run, tmp_path: Path) -> None:
    cubes = write(tmp_path / "s.zarr", 12, reference=lambda k, finding: k >= 3)
    content = tables(run("-q", "analyze", "localization", cubes, "--format", "json",
                       "--resamples", "50"))
    assert content["meta"]["exclusions"] == {"positive label but not annotated": 6}
    rows = [row for row in content["tables"]["scores"]
            if row["image"] == "i0" and row["explainer"] == "grad"]
    assert {(row["iou"], row["hit"], row["area_reference"]) for row in rows} == {
        (None, None, None)}


def test_a_constant_descriptor_costs_its_own_rows_only(run, tmp_path: Path) -> None:
    def one_square(k: int, finding: int) -> Mask:
        mask = np.zeros(SIZE, dtype=bool)
        mask[2 + k:12 + k, 5 + finding:15 + finding] = True
        return mask

    cubes = write(tmp_path / "s.zarr", 10, drawn=one_square)
    result = run("-q", "analyze", "regressions", cubes)
    # All four are constant: nothing is left.
    assert result.exit_code == 1
    assert "n_instances is constant" in result.stderr
    other = write(tmp_path / "t.zarr", 10,
                  drawn=lambda k, finding: one_square(k, finding) | (
                      np.arange(SIZE[1]) < k % 3 + 1))
    fitted = tables(run("-q", "analyze", "regressions", other, "--format", "json", "--fit",
                        "mixed", "--fit", "logit"))
    check_notes(fitted)


def test_a_mask_of_another_size_is_named(run, tmp_path: Path) -> None:
    code = rle.encode(np.ones((40, 51), dtype=bool))
    cubes = write(tmp_path / "s.zarr", 3, codes={(1, 0): code})
    for command in COMMANDS:
        result = run("-q", "analyze", command, cubes)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "reference/mask_rle of i1, Edema, reader truth" in result.stderr
        assert "2040 pixels" in result.stderr


def test_findings_that_do_not_match_are_named(run, tmp_path: Path) -> None:
    cubes = write(tmp_path / "s.zarr", 3)
    for command in COMMANDS:
        result = run("-q", "analyze", command, cubes, "--finding", "Edemma")
        assert result.exit_code == 2
        assert "'Edemma'" in result.stderr
        assert "Edema" in result.stderr.replace("'Edemma'", "")
    rules = tmp_path / "tuned.csv"
    rules.write_text("threshold,task\n0.3,Edema\n")
    result = run("-q", "analyze", "localization", cubes, "--threshold", rules)
    assert result.exit_code == 1
    assert "no row for finding 'Mass'" in result.stderr
    table = tmp_path / "scores.csv"
    table.write_text("image,finding,explainer,iou,area_ratio\n" + "".join(
        f"i{k},Edema,grad,0.{k},0.{k + 1}\n" for k in range(1, 6)))
    result = run("-q", "analyze", "regressions", "--scores", table, "--finding", "Mass")
    assert result.exit_code == 2
    assert "'Mass'" in result.stderr
