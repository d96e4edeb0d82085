"""XRAI: the authors' implementation, on drawn and on real radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from saliency.core import XRAI, XRAIParameters
from saliency.core import xrai as authors
from scipy.ndimage import gaussian_filter
from skimage.morphology import dilation, disk
from torch import Tensor, nn

from saltrust.explainers.explain import explain
from saltrust.explainers.methods.integrated_gradients import ig
from saltrust.explainers.methods.xrai import segments as segmentation
from saltrust.explainers.methods.xrai.heatmap import xrai
from saltrust.explainers.methods.xrai.regions import Segmentation, grow_regions
from saltrust.explainers.methods.xrai.segments import SegmentStore, segment, segment_masks
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec

Floats = npt.NDArray[np.float64]


def drawn(size: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    """Overlapping soft ellipses under noise: something with edges of all strengths."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size[0], :size[1]]
    image = np.zeros(size)
    for _ in range(9):
        center, axes = random.uniform(0, size, 2), random.uniform(8, max(size) / 2, 2)
        inside = ((y - center[0]) / axes[0]) ** 2 + ((x - center[1]) / axes[1]) ** 2 < 1
        image += random.uniform(-1, 1) * inside
    image = gaussian_filter(image, 1) + random.normal(0, 0.03, size)
    image = (image - image.min()) / np.ptp(image)
    return (image * 255).astype(np.uint8)


def smooth_noise(size: tuple[int, int], seed: int) -> Floats:
    return gaussian_filter(np.random.default_rng(seed).standard_normal(size), 6) - 0.01


def of_authors(gray: npt.NDArray[np.uint8], attribution: Floats) -> tuple[Floats, Any]:
    """Heatmap and ranks of the authors' code, given an image of three equal channels."""
    color = np.repeat(gray[..., None].astype(float), 3, axis=2)
    details = XRAI().GetMaskWithDetails(
        color, None, base_attribution=np.repeat(attribution[..., None], 3, axis=2),
        extra_parameters=XRAIParameters(return_xrai_segments=True))
    return details.attribution_mask, details.segments


def check(gray: npt.NDArray[np.uint8], attributions: list[Floats]) -> None:
    prepared = Segmentation.of(SegmentStore().masks(gray.astype(np.float64)), gray.shape)
    for attribution in attributions:
        heatmap, ranks = of_authors(gray, attribution)
        regions = grow_regions(attribution, prepared)
        # To the last bit: the same regions in the same order with the same gains.
        np.testing.assert_array_equal(regions.heatmap, heatmap)
        # The authors rank by gain, and number from 1.
        by_gain = np.argsort(-np.array(regions.gains), kind="stable")
        rank = np.empty(len(regions.gains) + 1, dtype=int)
        rank[by_gain] = np.arange(1, len(by_gain) + 1)
        rank[-1] = len(by_gain) + 1
        np.testing.assert_array_equal(rank[regions.order], ranks)


@pytest.mark.parametrize("size", [(180, 180), (96, 130), (224, 100), (60, 40)])
def test_the_authors_agree_on_drawn_radiographs(size: tuple[int, int]) -> None:
    check(drawn(size, 3), [smooth_noise(size, 4)])


@pytest.mark.parametrize("kind", ["integers", "constant", "one pixel", "white noise"])
def test_the_authors_agree_on_attributions_with_ties(kind: str) -> None:
    size = (100, 100)
    attribution = {
        "integers": np.random.default_rng(1).integers(-2, 3, size).astype(float),
        "constant": np.full(size, 0.25),
        "one pixel": np.eye(*size) * np.eye(*size)[40],
        "white noise": np.random.default_rng(2).standard_normal(size),
    }[kind]
    check(drawn(size, 8), [attribution])


@pytest.mark.real_data
@pytest.mark.parametrize("path", [
    "pneumonia/000.png", "pneumothorax/011.png"])
def test_the_authors_agree_on_real_radiographs(shared_data: Path, path: str) -> None:
    with Image.open(shared_data / "radiographs" / path) as image:
        gray = np.asarray(image.convert("L").resize((256, 256), Image.Resampling.BILINEAR))
    # Of the kind of a real map: fine grained, and higher along edges.
    fine = np.random.default_rng(5).standard_normal(gray.shape)
    edges = np.abs(np.gradient(gray.astype(float))).sum(axis=0)
    check(gray, [fine * (1 + edges)])


@pytest.mark.real_data
def test_segments_of_real_radiographs_are_those_of_the_authors(shared_data: Path) -> None:
    files = sorted((shared_data / "radiographs").glob("*/*.png"))[::50][:4]
    for path in files:
        with Image.open(path) as image:
            gray = np.asarray(image.convert("L").resize((320, 300))).astype(float)
        theirs = authors._get_segments_felzenszwalb(
            np.repeat(gray[..., None], 3, axis=2), dilation_rad=0)
        ours = segment_masks(segment(gray), gray.shape)
        theirs = [mask for mask in theirs if mask.any()]
        assert len(ours) == len(theirs)
        for mine, other in list(zip(ours, theirs, strict=True))[::9]:
            widened = dilation(other, footprint=disk(5))
            np.testing.assert_array_equal(mine, np.flatnonzero(widened))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_dilation_is_that_of_scikit_image(seed: int, height: int, width: int, part: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < part**3
    np.testing.assert_array_equal(segmentation._dilate(mask), dilation(mask, disk(5)))


def test_each_region_adds_its_mean() -> None:
    """By hand: three overlapping strips of an image of one row."""
    masks = [np.arange(0, 6), np.arange(4, 10), np.arange(8, 12)]
    attribution = np.array([[1, 1, 1, 1, 5, 5, 4, 4, 0, 0, 2, 2, 7, 9]], dtype=float)
    prepared = Segmentation.of([mask.astype(np.int32) for mask in masks], (1, 14))
    regions = grow_regions(attribution, prepared, min_pixels=2)
    # 14/6, 18/6 and 4/4; then 1 against 2 of what is left of the third; two were in none.
    assert regions.segments == [1, 2, 0]
    assert regions.gains == [3.0, 2.0, 1.0]
    expected = [[1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 2, 2, 8, 8]]
    np.testing.assert_array_equal(regions.heatmap, expected)
    np.testing.assert_array_equal(regions.order, [[2] * 4 + [0] * 6 + [1] * 2 + [3] * 2])
    # With three pixels as the least, the third adds too little.
    fewer = grow_regions(attribution, prepared, min_pixels=3)
    assert fewer.segments == [1, 0]
    assert fewer.heatmap[0, 10:].tolist() == [5.0] * 4
    # With four the first adds just as many as it must.
    assert grow_regions(attribution, prepared, min_pixels=4).segments == [1, 0]


@pytest.fixture
def films() -> npt.NDArray[np.uint8]:
    return np.stack([drawn((64, 72), seed) for seed in (1, 2)])


def inputs_of(films: npt.NDArray[np.uint8], channels: int = 3) -> Tensor:
    gray = torch.from_numpy(films).to(torch.float32) / 255
    scale = torch.tensor([0.23, 0.22, 0.25])[:channels].view(1, -1, 1, 1)
    return (gray[:, None].expand(-1, channels, -1, -1) - 0.45) / scale


def context_of(films: npt.NDArray[np.uint8], **more: Any) -> BatchContext:
    scale = torch.tensor([0.23, 0.22, 0.25]).view(1, 3, 1, 1)
    return BatchContext(("a", "b"), -0.45 / scale, 0.55 / scale, pixels=films, **more)


def test_it_is_the_authors_xrai_of_integrated_gradients(
    network: nn.Module, films: npt.NDArray[np.uint8]
) -> None:
    network, inputs, context = network.double().eval(), inputs_of(films).double(), context_of(films)
    maps = xrai(network, inputs, [2, 0], steps=8, context=context)
    attribution = sum(
        ig(network, inputs, [2, 0], steps=8, baseline=level, context=context)
        for level in ("black", "white")).numpy() / 2
    for image in range(2):
        for finding in range(2):
            heatmap, _ = of_authors(films[image], attribution[image, finding])
            np.testing.assert_allclose(maps[image, finding], heatmap, rtol=1e-12, atol=0)


def test_it_shares_the_maps_of_ig_and_the_segments(
    network: nn.Module, films: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented: list[Any] = []

    def count(gray: Floats) -> Any:
        segmented.append(gray)
        return segment(gray)

    monkeypatch.setattr(segmentation, "segment", count)
    rows: list[int] = []
    handle = network.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    store = SegmentStore()
    methods = [resolve(ExplainerSpec("ig")),
               resolve(ExplainerSpec("xrai", {"baselines": ["black"]}))]
    first = explain(network, inputs_of(films), [0, 1, 3], methods,
                    context=context_of(films, segments=store))
    # The batch itself, 25 steps for each image, and black for the completeness.
    assert sum(rows) == 2 + 2 * 25 + 1
    assert len(segmented) == 2
    second = explain(network, inputs_of(films), [0, 1, 3], methods,
                     context=context_of(films, segments=store))
    assert len(segmented) == 2
    handle.remove()
    torch.testing.assert_close(first.heatmaps["xrai"], second.heatmaps["xrai"], rtol=0, atol=0)


def test_segments_do_not_depend_on_how_the_network_wants_its_input(
    films: npt.NDArray[np.uint8], make_network: Callable[..., nn.Module]
) -> None:
    store = SegmentStore()
    gray = films[0].astype(np.float64)
    for stretched in (gray, gray / 255, gray * -0 + (gray - 128) / 60):
        np.testing.assert_array_equal(store.labels(stretched), segment(gray))
    alone = BatchContext.of(inputs_of(films)).gray(inputs_of(films))
    labels = segment(alone[0])
    assert (labels == segment(gray)).mean() > 0.99


def test_a_full_store_finds_segments_anew(
    films: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(gray: Floats) -> Any:
        counted.append(1)
        return segment(gray)

    monkeypatch.setattr(segmentation, "segment", count)
    store = SegmentStore(budget=100)
    grays = films.astype(np.float64)
    first = store.labels(grays[0])
    np.testing.assert_array_equal(store.labels(grays[0]), first)
    assert len(counted) == 2
    roomy = SegmentStore()
    for gray in (grays[0], grays[1], grays[0], grays[1]):
        roomy.labels(gray)
    assert len(counted) == 4


def test_a_uniform_image_is_one_region(network: nn.Module) -> None:
    inputs = torch.full((1, 3, 48, 48), 0.3)
    maps = xrai(network.eval(), inputs, [0], steps=2)
    assert maps.unique().numel() == 1


def test_an_attribution_that_is_not_finite_gives_nan_and_spares_the_others(
    network: nn.Module, films: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: nn.Module, inputs: Tensor, outputs: Any, **more: Any) -> Tensor:
        maps = ig(module, inputs, outputs, **more)
        maps[1, 0, 3, 5] = torch.inf
        return maps

    expected = xrai(network.eval(), inputs_of(films), [0, 1], steps=2, context=context_of(films))
    monkeypatch.setattr("saltrust.explainers.methods.xrai.heatmap.ig", broken)
    maps = xrai(network, inputs_of(films), [0, 1], steps=2, context=context_of(films))
    assert maps[1, 0].isnan().all()
    torch.testing.assert_close(maps[0], expected[0])
    torch.testing.assert_close(maps[1, 1], expected[1, 1])
