"""Infidelity and sensitivity of maps (Yeh et al. 2019), as captum computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.cache.schema import Status
from saltrust.generate.faithfulness.ordering import stream

#: Standard deviation of the noise of infidelity, and half width of that of sensitivity, as parts
#: of the range from black to white.
NOISE, RADIUS = 0.02, 0.02
#: Changed images of each.
SAMPLES = 10
_INFIDELITY, _SENSITIVITY = 4, 5

Floats = npt.NDArray[np.float32]
#: From planes (n, y, x) to logits (n, finding).
Logits = Callable[[Tensor], Tensor]
#: From planes (n, y, x) to maps (n, finding, explainer, y, x).
Explain = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Explained:
    """Maps of one radiograph.

    Attributes
    ----------
    gray : Tensor of float32, shape (y, x)
        0 is black, 1 is white.
    maps : ndarray of float32, shape (finding, explainer, y, x)
        Raw.
    status : ndarray of uint8, shape (finding, explainer)
        Only maps of status ok have measures.
    image : str
    seed : int
    """

    gray: Tensor
    maps: Floats
    status: npt.NDArray[np.uint8]
    image: str
    seed: int

    def each(self, measure: Callable[[int, int], Tensor]) -> Floats:
        """A measure of every usable map, shape (finding, explainer); NaN of others."""
        values = np.full(self.status.shape, np.nan, dtype=np.float32)
        for finding, explainer in np.argwhere(self.status == Status.OK).tolist():
            value = float(measure(finding, explainer))
            values[finding, explainer] = value if np.isfinite(value) else np.nan
        return values


def infidelity_of(explained: Explained, logits: Logits, evidence: tuple[bool, ...]) -> Floats:
    """How badly a map foretells the change of the logit under noise, at its best scale.

    Parameters
    ----------
    explained : Explained
    logits : callable
    evidence : tuple of bool
        Of each explainer: whether its maps are contributions of pixels, which captum has
        divided by the distance from black, and not slopes.

    Returns
    -------
    ndarray of float32, shape (finding, explainer)
    """
    from captum.metrics import infidelity, infidelity_perturb_func_decorator

    gray = explained.gray
    noise = NOISE * torch.from_numpy(stream(
        explained.seed, explained.image, _INFIDELITY).standard_normal(
            (SAMPLES, 1, *gray.shape), dtype=np.float32)).to(gray)
    # The changed images are the same for all maps.
    of_changed, of_image = logits((gray - noise)[:, 0]), logits(gray[None])

    def changed(inputs: Tensor, _baselines: Tensor | None = None) -> Tensor:
        return inputs - noise

    def measure(finding: int, explainer: int) -> Tensor:
        def answer(inputs: Tensor) -> Tensor:
            return (of_image if len(inputs) == 1 else of_changed)[:, finding]

        decorate = infidelity_perturb_func_decorator(multiply_by_inputs=evidence[explainer])
        attributions = torch.from_numpy(explained.maps[finding, explainer]).to(gray)[None, None]
        value: Tensor = infidelity(answer, decorate(changed), gray[None, None], attributions,
                                   baselines=0.0 if evidence[explainer] else None,
                                   n_perturb_samples=SAMPLES, normalize=True)
        return value

    return explained.each(measure)


def sensitivity_of(explained: Explained, explain: Explain) -> Floats:
    """The largest change of a map, relative to its norm, under small changes of the image.

    Parameters
    ----------
    explained : Explained
    explain : callable
        Makes the maps anew, with the same random numbers.

    Returns
    -------
    ndarray of float32, shape (finding, explainer)
    """
    from captum.metrics import sensitivity_max

    gray = explained.gray
    noise = RADIUS * torch.from_numpy(stream(
        explained.seed, explained.image, _SENSITIVITY).uniform(
            -1, 1, (SAMPLES, 1, *gray.shape)).astype(np.float32)).to(gray)
    # Explainers refuse what is blacker than black.
    changed = (gray + noise).clamp(0, 1)
    of_image = explain(gray[None])
    of_changed = torch.cat([explain(plane) for plane in changed])

    def measure(finding: int, explainer: int) -> Tensor:
        def maps(inputs: Tensor) -> Tensor:
            every = of_image if len(inputs) == 1 else of_changed
            return every[:, finding, explainer, None]

        value: Tensor = sensitivity_max(maps, gray[None, None],
                                        perturb_func=lambda *_: changed,
                                        perturb_radius=RADIUS, n_perturb_samples=SAMPLES)
        return value

    return explained.each(measure)
