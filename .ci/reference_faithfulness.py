"""Values of Quantus, pytorch-grad-cam and RISE that tests compare our curves with.

    python .ci/reference_faithfulness.py tests/reference/faithfulness/curves.json

runs in an environment of its own (`make references`), since Quantus 0.6 wants a NumPy below 2.4
and another OpenCV.  Where they do not follow their papers or answer another question:

- Quantus' PixelFlipping leaves out the end at which nothing is removed, and divides its areas by
  nothing; its perturbed pixels are compared here by the predictions they give.
- Quantus' ROAD returns the part of images that are still classified right, not the probability;
  its imputation is compared, not that number.
- pytorch-grad-cam's ROAD takes thresholds of the map by percentiles, so that of a map with ties
  more or less than the stated part is removed; it has no ends; a least relevant order is that of
  `1 - map`.  Its imputation is compared, at counts of pixels.
- Both add noise outside the range of the image, which ours is clipped to; here it is 0.
- RISE's own insertion and deletion are written out as its released code does them: pixels by the
  order of the map, one picture per step.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saltrust.models.torchvision_operators import import_torchvision

GRID, STEPS = 12, 6
COUNTS = (14, 43, 72, 101, 130)


class TwoFindings(nn.Module):
    """Probabilities of two findings by weighted brightness."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.flatten(1) @ self.weights.T).sigmoid()


def main() -> None:
    # The peers import torchvision, whose operators may not fit torch.
    import_torchvision()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    generator = np.random.default_rng(20220202)
    pixels = generator.integers(0, 256, (GRID, GRID))
    scores = np.round(generator.permutation(GRID * GRID) / (GRID * GRID) - 0.5, 4)
    scores = scores.reshape(GRID, GRID)
    weights = np.round(generator.normal(size=(2, GRID * GRID)) / GRID, 4)
    gray = (pixels / 255).astype(np.float32)
    order = np.argsort(-scores, axis=None)
    content = {
        "origin": {"script": ".ci/reference_faithfulness.py", "python": platform.python_version(),
                   **{name: metadata.version(name) for name in
                      ("quantus", "grad-cam", "torch", "numpy", "scipy")}},
        "pixels": pixels.tolist(), "map": scores.tolist(), "weights": weights.tolist(),
        "steps": STEPS,
        "imputed": {metric: {
            "quantus": {str(count): _by_quantus(gray, removed(count)) for count in COUNTS},
            "pytorch-grad-cam": {str(count): _by_grad_cam(gray, removed(count))
                                 for count in COUNTS}}
            for metric, removed in (("morf", lambda count: order[:count]),
                                    ("lerf", lambda count: order[-count:]))},
        "curves": {"deletion": {"quantus": _pixel_flipping(gray, scores, weights),
                                "rise": _rise(gray, order, weights, insert=False)},
                   "insertion": {"rise": _rise(gray, order, weights, insert=True)}},
    }
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _rounded(values: np.ndarray) -> Any:
    return np.round(np.asarray(values, dtype=np.float64), 6).tolist()


def _by_quantus(gray: np.ndarray, removed: np.ndarray) -> Any:
    from quantus.functions.perturb_func import noisy_linear_imputation

    return _rounded(noisy_linear_imputation(gray[None].astype(np.float64), removed, noise=0)[0])


def _by_grad_cam(gray: np.ndarray, removed: np.ndarray) -> Any:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    mask = torch.ones(gray.size)
    mask[removed.copy()] = 0
    return _rounded(NoisyLinearImputer(noise=0)(torch.from_numpy(gray)[None],
                                                mask.reshape(gray.shape))[0].numpy())


def _pixel_flipping(gray: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Any:
    import quantus

    metric = quantus.PixelFlipping(
        features_in_step=gray.size // STEPS, abs=False, normalise=False,
        perturb_baseline="black", disable_warnings=True)
    curves = metric(model=TwoFindings(weights).eval(), x_batch=np.repeat(gray[None, None], 2, 0),
                    y_batch=np.array([0, 1]), a_batch=np.repeat(scores[None, None], 2, 0),
                    softmax=False, channel_first=True)
    return _rounded(np.array(curves))


def _rise(gray: np.ndarray, order: np.ndarray, weights: np.ndarray, *, insert: bool) -> Any:
    """As ``CausalMetric.single_run`` of the released code, from gray to black and back."""
    start, finish = (np.zeros_like(gray), gray) if insert else (gray.copy(), np.zeros_like(gray))
    step = gray.size // STEPS
    curve = []
    for number in range(STEPS + 1):
        logits = weights @ start.astype(np.float64).ravel()
        curve.append(1 / (1 + np.exp(-logits)))
        changed = order[step * number:step * (number + 1)]
        start = start.copy()
        start.ravel()[changed] = finish.ravel()[changed]
    return _rounded(np.array(curve).T)


if __name__ == "__main__":
    main()
