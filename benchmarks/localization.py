"""Protocol S on a made-up study of the paper's size: cost per map, and whether it stays constant.

    python benchmarks/localization.py [--images 10,30,100,1000] [--definition peer] [--workers 2]

Ten findings, one explainer, maps of 320 x 320 smooth as Grad-CAM, masks of 2320 x 2828 pixels,
23% of the labels positive, one benchmark reader.  Of every size: the pass over the pixels with both
threshold searches, everything again from kept scores, descriptors, and all inference.  The released
scripts take about 950 ms per map for the first two columns on two cores.  "CPU" is the time that
this process computed, whatever else the machine was busy with (without that of --workers).  Peak
memory is of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import ndimage

from saltrust.analysis import confidence, regressions
from saltrust.analysis.contents import probabilities
from saltrust.analysis.descriptors import descriptors
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.localization import localization
from saltrust.analysis.pixels.levels import compiled
from saltrust.analysis.thresholds import tune
from saltrust.cache import rle
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, Status
from saltrust.cache.store import open_cubes
from saltrust.cache.writing import create_store

NATIVE = (2320, 2828)
GRID = 320
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
        path, index=index, grid=(GRID, GRID), groups=("reference", "prediction", "saliency"),
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
        maps = ndimage.zoom(small, (1, GRID / 10, GRID / 10), order=1)
        writer.write("saliency/heatmap", (image, slice(None), 0, 0), maps)
    writer.write("saliency/status", slice(None),
                 np.full((images, n, 1, 1), Status.OK, dtype=np.uint8))
    return writer.finish()


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def run(path: Path, images: int, definition: Any, workers: int) -> dict[str, float]:
    maps = images * len(CHEXLOCALIZE_FINDINGS)
    worked = time.process_time()
    options: dict[str, Any] = {"definition": definition, "keep": True}
    _, searched = timed(lambda: tune(open_cubes(path), **options, workers=workers))
    located, again = timed(lambda: localization(open_cubes(path), **options))
    shapes, described = timed(lambda: descriptors(open_cubes(path), definition=definition))
    scores = located.tables["scores"]

    def infer() -> None:
        regressions.regressions(scores, shapes.tables["descriptors"], definition=definition,
                                fits=("mixed", "logit"))
        confidence.confidence(scores, probabilities(open_cubes(path), ""), definition=definition)

    _, inferred = timed(infer)
    total = searched + again + described + inferred
    cpu = time.process_time() - worked
    return {"maps": maps, "pass and both searches": 1e3 * searched / maps,
            "localization from kept": 1e3 * again / maps, "descriptors": 1e3 * described / maps,
            "inference": 1e3 * inferred / maps, "all": 1e3 * total / maps,
            "all, CPU": 1e3 * cpu / maps,
            "x released": RELEASED_MS * maps / (1e3 * total), "total s": total,
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def bootstrap() -> None:
    """Ten findings, 668 images, 1,000 resamples: one matrix product against data frames."""
    values = np.random.default_rng(0).random((668, 10))
    _, ours = timed(lambda: mean_interval(values, np.arange(668), resamples=1000))
    frame = pd.DataFrame(values)
    few = 50
    _, theirs = timed(lambda: [frame.sample(len(frame), replace=True).mean() for _ in range(few)])
    print(f"bootstrap of 10 findings, n = 668, 1,000 resamples: {1e3 * ours:.0f} ms; resampling "
          f"data frames, all findings at once: {1e3 * theirs * 1000 / few:.0f} ms")
    _, single = timed(lambda: [frame[[k]].sample(len(frame), replace=True).mean()
                               for k in range(10) for _ in range(few // 5)])
    print(f"  ... finding by finding, as released: {1e3 * single * 1000 / (few // 5):.0f} ms "
          f"({single * 1000 / (few // 5) / ours:.0f} times as long)")


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
        run(write_study(Path(folder) / "first.zarr", 2, codes), 2, options.definition, 1)
        rows = []
        for images in map(int, options.images.split(",")):
            path = write_study(Path(folder) / f"{images}.zarr", images, codes)
            rows.append({"images": images, **run(path, images, options.definition,
                                                 options.workers)})
            print(pd.DataFrame(rows).round(1).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
