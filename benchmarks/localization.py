"""Protocol S on a made-up study of the paper's size: cost per map, and whether it stays constant.

    python benchmarks/localization.py [--images 10,30,100,1000] [--definition peer] [--workers 2]

Ten findings, one explainer, maps of 320 x 320 smooth as Grad-CAM, masks of 2320 x 2828 pixels,
23% of the labels positive, one benchmark reader.  Of every size: the pass over the pixels with both
threshold searches; then, from kept scores, localization with all bootstrap intervals,
descriptors, and all regressions (least squares, clustered, mixed, logistic) with confidence.

First the peer: on the maps of two images, what the released CheXlocalize scripts compute per map
(resize with torch, Otsu and contours with OpenCV, IoU on decoded masks, peak, and both searches,
which segment anew at every value tried), its values compared with saltrust's under ``peer``.  It
is timed without reading and writing files, which the released scripts also do: they were measured
at about 950 ms a map on two cores.  "CPU" is the time that this process and its workers computed,
whatever else the machine was busy with.  Peak memory is of the whole process.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import ndimage

from saltrust.analysis.confidence.analysis import confidence
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.localization.thresholds import CUTOFFS, GRID, tune_thresholds
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.upsampling import compiled
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.shape.regressions import regressions
from saltrust.cache import rle
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, Status
from saltrust.cache.store import open_cubes
from saltrust.cache.writing import create_store

NATIVE = (2320, 2828)
SIDE = 320
RELEASED_MS = 950.0


def templates(generator: np.random.Generator, count: int = 24) -> list[str]:
    """Codes of random outlines: smooth noise above a threshold inside an ellipse."""
    codes = []
    rows, columns = np.mgrid[:NATIVE[0], :NATIVE[1]].astype(np.float32)
    for _ in range(count):
        y, x = generator.uniform(0.25, 0.75, 2) * NATIVE
        b, a = generator.uniform(0.06, 0.25, 2) * NATIVE
        distance = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2
        ripple = ndimage.zoom(generator.normal(size=(20, 24)).astype(np.float32),
                              (NATIVE[0] / 20, NATIVE[1] / 24), order=1)
        codes.append(rle.encode(distance + 0.3 * ripple < 1))
    return codes


def write_study(path: Path, images: int, codes: list[str], seed: int = 0) -> Path:
    generator = np.random.default_rng([seed, images])
    names = [f"image-{k:04d}" for k in range(images)]
    n = len(CHEXLOCALIZE_FINDINGS)
    index = xr.Dataset(coords={
        "image": names, "finding": list(CHEXLOCALIZE_FINDINGS),
        "reader": ["reference", "expert"], "reader_role": ("reader", ["reference", "benchmark"]),
        "patient": ("image", [f"patient-{k * 3 // 4:04d}" for k in range(images)])})
    writer = create_store(
        path, index=index, grid=(SIDE, SIDE), groups=("reference", "prediction", "saliency"),
        n_points=1, models=xr.Dataset(coords={"model": ["net"]}),
        explainers=xr.Dataset(coords={"explainer": ["gradcam"]}))
    positive = generator.random((images, n)) < 0.23
    drawn = np.where(positive[..., None], np.array(codes, dtype=object)[
        generator.integers(0, len(codes), (images, n, 2))], "")
    writer.write("reference/label", slice(None), positive.astype(np.int8))
    writer.write("reference/annotated", slice(None), np.repeat(positive[..., None], 2, axis=2))
    writer.write("reference/mask_rle", slice(None), drawn.astype(np.dtypes.StringDType()))
    points = np.full((images, n, 2, 1), np.nan, dtype=np.float32)
    for name, size in (("point_y", NATIVE[0]), ("point_x", NATIVE[1])):
        points[:, :, 1, 0] = generator.uniform(0.2, 0.8, (images, n)) * size
        writer.write(f"reference/{name}", slice(None), points)
    for name, size in zip(("native_height", "native_width"), NATIVE, strict=True):
        writer.write(name, slice(None), np.full(images, size, dtype=np.int32))
    writer.write("prediction/probability", slice(None),
                 generator.random((images, n, 1)).astype(np.float32))
    for image in range(images):
        small = np.maximum(generator.normal(size=(n, 10, 10)), 0).astype(np.float32)
        maps = ndimage.zoom(small, (1, SIDE / 10, SIDE / 10), order=1)
        writer.write("saliency/heatmap", (image, slice(None), 0, 0), maps)
    writer.write("saliency/status", slice(None),
                 np.full((images, n, 1, 1), Status.OK, dtype=np.uint8))
    return writer.finish()


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


# The peer ------------------------------------------------------------------------------------


def _resize(heatmap: np.ndarray) -> np.ndarray:
    import torch
    from torch.nn import functional

    grown = functional.interpolate(torch.from_numpy(heatmap)[None, None], size=NATIVE,
                                   mode="bilinear", align_corners=False)[0, 0].numpy()
    return (grown - grown.min()) / (grown.max() - grown.min())


def _segmented(heatmap: np.ndarray, threshold: float | None) -> np.ndarray:
    """By Otsu's threshold with contours filled, or above a share of the range."""
    import cv2

    share = _resize(heatmap)
    if threshold is not None:
        return share > threshold
    _, cut = cv2.threshold((255 * share).astype(np.uint8), 0, 255,
                           cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    contours, _ = cv2.findContours(cut, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(NATIVE, dtype=np.uint8)
    for contour in contours:
        if len(contour) > 1:
            cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    union = np.logical_or(one, two).sum()
    return float(np.logical_and(one, two).sum() / union) if union else float("nan")


def peer_map(heatmap: np.ndarray, code: str, probability: float) -> dict[str, Any]:
    """Everything that the released scripts find of one map."""
    truth = rle.decode(code, *NATIVE) if code else np.zeros(NATIVE, dtype=bool)
    predicted = _segmented(heatmap, None)
    peak = np.unravel_index(_resize(heatmap).argmax(), NATIVE)
    overlaps = {"area": int(predicted.sum()), "otsu": _overlap(predicted, truth),
                "hit": float(truth[peak]) if code else float("nan"), "peak": tuple(map(int, peak))}
    for threshold in GRID:
        # Compared in float64, as with the thresholds that the scripts read from their tables.
        above = _segmented(heatmap, np.float64(threshold))
        overlaps[f"above {threshold}"] = _overlap(above, truth)
    for cutoff in CUTOFFS:
        kept = _segmented(heatmap, None) if probability > cutoff else np.zeros_like(truth)
        overlaps[f"cut-off {cutoff}"] = _overlap(kept, truth)
    return overlaps


def compare(path: Path) -> float:
    """Median milliseconds of the peer per map; exits 1 where saltrust finds another value."""
    cubes = open_cubes(path)
    peer = Scoring(definition="peer", slice="all")
    ways = {"otsu": peer, **{f"above {t}": replace(peer, threshold=t) for t in GRID},
            **{f"cut-off {c}": replace(peer, cutoff=c) for c in CUTOFFS}}
    ours = {}
    for name, scoring in ways.items():
        table = score_maps(cubes, scoring, Execution()).table
        ours[name] = table[table["explainer"] == "gradcam"].set_index(["image", "finding"])
    seconds, largest = [], 0.0
    for image, finding in ours["otsu"].index:
        place = {"image": image, "finding": finding}
        heatmap = cubes["saliency/heatmap"].sel(place).values[0, 0]
        code = str(cubes["reference/mask_rle"].sel({**place, "reader": "reference"}).item())
        probability = float(cubes["prediction/probability"].sel(place).item())
        theirs, taken = timed(lambda h=heatmap, c=code, p=probability: peer_map(h, c, p))
        seconds.append(taken)
        row = ours["otsu"].loc[(image, finding)]
        pairs = [(row["area_predicted"], theirs["area"]), (row["hit"], theirs["hit"]),
                 (row["peak_y"], theirs["peak"][0]), (row["peak_x"], theirs["peak"][1]),
                 *((table.loc[(image, finding), "iou"], theirs[name])
                   for name, table in ours.items())]
        for mine, other in pairs:
            if np.isnan(mine) != np.isnan(other) or abs(mine - other) > 1e-6:
                sys.exit(f"{image}, {finding}: saltrust has {mine}, the peer {other}")
            largest = max(largest, abs(mine - other) if not np.isnan(mine) else 0.0)
    print(f"peer on {len(seconds)} maps: median {1e3 * statistics.median(seconds):.0f} ms a map; "
          f"{len(pairs)} values of each compared, largest difference {largest:.1e}")
    return 1e3 * statistics.median(seconds)


# saltrust ------------------------------------------------------------------------------------


def run(path: Path, images: int, definition: Any, workers: int) -> dict[str, float]:
    maps = images * len(CHEXLOCALIZE_FINDINGS)
    worked = _computed()
    scoring = Scoring(definition=definition)
    _, searched = timed(lambda: tune_thresholds(path, scoring=scoring,
                                                execution=Execution(workers=workers)))
    _, again = timed(lambda: localization(path, scoring=scoring))
    _, described = timed(lambda: descriptors(path, scoring=scoring))

    def infer() -> None:
        regressions(path, scoring=scoring, fits=("mixed", "logit"))
        confidence(path, scoring=scoring)

    _, inferred = timed(infer)
    total = searched + again + described + inferred
    return {"maps": maps, "pass and both searches": 1e3 * searched / maps,
            "localization from kept": 1e3 * again / maps, "descriptors": 1e3 * described / maps,
            "regressions, confidence": 1e3 * inferred / maps, "all": 1e3 * total / maps,
            "all, CPU": 1e3 * (_computed() - worked) / maps,
            "x released": RELEASED_MS * maps / (1e3 * total), "total s": total,
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _computed() -> float:
    """Seconds that this process and its finished children computed."""
    return sum(os.times()[:4])


def bootstrap() -> float:
    """Ten findings, 668 images, 1,000 resamples: one matrix product against data frames.

    Returns
    -------
    float
        How many times longer data frames take, finding by finding, as released.
    """
    values = np.random.default_rng(0).random((668, 10))
    ours = statistics.median(
        timed(lambda: mean_interval(values, np.arange(668), resamples=1000))[1] for _ in range(9))
    frame = pd.DataFrame(values)
    few = 20

    def resampled(chosen: pd.DataFrame) -> float:
        """Seconds for 1,000 resamples, from a few."""
        return 1000 / few * timed(lambda: [chosen.sample(len(chosen), replace=True).mean()
                                           for _ in range(few)])[1]

    at_once = statistics.median(resampled(frame) for _ in range(5))
    single = sum(statistics.median(resampled(frame[[k]]) for _ in range(5)) for k in range(10))
    print(f"bootstrap of 10 findings, n = 668, 1,000 resamples (medians): {1e3 * ours:.1f} ms; "
          f"resampling data frames, finding by finding as released: {1e3 * single:.0f} ms "
          f"({single / ours:.0f} times as long), all findings at once: {1e3 * at_once:.0f} ms "
          f"({at_once / ours:.0f} times)")
    return single / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="10,30,100")
    parser.add_argument("--definition", choices=["default", "peer"], default="default")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    codes = templates(np.random.default_rng(1))
    print(f"{'compiled (Numba)' if compiled() else 'NumPy only'}, definition "
          f"{options.definition}, {options.workers} worker(s); milliseconds per map")
    bootstrap()
    with tempfile.TemporaryDirectory() as folder:
        # Compiling, or reading what was compiled, is not of any study.
        first = write_study(Path(folder) / "first.zarr", 2, codes)
        run(first, 2, options.definition, 1)
        peer = compare(first)
        rows = []
        for images in map(int, options.images.split(",")):
            path = Path(folder) / f"{images}.zarr"
            write_study(path, images, codes)
            rows.append({"images": images, **run(path, images, options.definition,
                                                 options.workers)})
            shutil.rmtree(path)
            print(pd.DataFrame(rows).round(1).to_string(index=False), flush=True)
        cost = [row["all"] for row in rows]
        middle = statistics.median(cost)
        print(f"median {middle:.1f} ms a map: {peer / middle:.0f} times as fast as the peer here, "
              f"{RELEASED_MS / middle:.0f} times as fast as {RELEASED_MS:.0f} ms; largest study / "
              f"smallest, per map: {cost[-1] / cost[0]:.2f}")


if __name__ == "__main__":
    main()
