"""Pairs of maps: of one image in two series, and of different images, for the SSIM criteria."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.map_similarity import (
    DifferentImages,
    Read,
    different_images,
    same_images,
)
from saltrust.analysis.pixels.ssim import SsimSettings
from saltrust.analysis.stored.images import StudyImages
from saltrust.analysis.stored.maps import MapSeries
from saltrust.cache.schema import Status
from saltrust.choices import Images


@dataclass(frozen=True)
class ByChance:
    """Similarity of maps of different images.

    Attributes
    ----------
    images : list of str
        Whose maps were compared.
    similarity : DifferentImages
        With positions in this list.
    """

    images: list[str]
    similarity: DifferentImages

    def sides(self) -> tuple[list[str], list[str]]:
        """Names of both images of every pair."""
        left, right = ([self.images[k] for k in side.tolist()]
                       for side in (self.similarity.left, self.similarity.right))
        return left, right


@dataclass
class MapPairs:
    """Which maps can be compared, and how similar they are.

    Attributes
    ----------
    images : StudyImages
    which : {"all", "positive"}
        Images whose maps are compared: all, or those that show the finding.
    settings : SsimSettings
    pairs : int
        Random pairs of different images, at most.
    seed : int
        Of their draw.
    counts : Counter
        What was compared, by description.
    """

    images: StudyImages
    which: Images
    settings: SsimSettings
    pairs: int
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    @cached_property
    def patients(self) -> dict[str, str]:
        """Patient of every image."""
        return dict(zip(self.images.names, self.images.patients, strict=True))

    def stored(self, finding: str, *series: MapSeries) -> list[str]:
        """Images of which every series has a map."""
        return self._images_where(finding, [one.statuses(finding) != Status.MISSING
                                            for one in series])

    def usable(self, finding: str, *series: MapSeries) -> list[str]:
        """Images whose map in every series is finite and not flat."""
        return self._images_where(finding, [one.statuses(finding) == Status.OK for one in series])

    def compare(self, finding: str, series: tuple[MapSeries, MapSeries], stored: Sequence[str],
                names: Mapping[str, Any], failure: str) -> list[dict[str, Any]]:
        """SSIM of two maps of each image.

        Parameters
        ----------
        finding : str
        series : pair of MapSeries
        stored : sequence of str
            Images to compare.
        names : mapping of str to object
            What the rows are about.
        failure : str
            What it is called where a map is flat or not finite.

        Returns
        -------
        list of dict
            ``image, patient, finding``, the names, ``ssim`` and ``failed``: a map that is flat or
            not finite shares no structure, SSIM 0.
        """
        first, second = series
        good = set(self.usable(finding, first, second))
        usable = [image for image in stored if image in good]
        values = same_images(_reader(first, finding, usable), _reader(second, finding, usable),
                             range(len(usable)), self.settings)
        ssim = dict(zip(usable, values.tolist(), strict=True))
        self.counts["pairs of maps"] += len(stored)
        rows = []
        for image in stored:
            value = ssim.get(image, float("nan"))
            failed = bool(np.isnan(value))
            self.counts[failure] += failed
            rows.append({"image": image, "patient": self.patients[image], "finding": finding,
                         **names, "ssim": 0.0 if failed else value, "failed": failed})
        return rows

    def by_chance(self, finding: str, first: MapSeries, second: MapSeries | None = None
                  ) -> ByChance:
        """SSIM of maps of images of different patients, in two series or in one."""
        series = (first,) if second is None else (first, second)
        images = self.usable(finding, *series)
        readers = [_reader(one, finding, images) for one in series]
        return ByChance(images, different_images(
            readers[0], readers[-1], range(len(images)), self.settings, pairs=self.pairs,
            seed=self.seed, ordered=second is not None,
            patients=[self.patients[image] for image in images]))

    def _images_where(self, finding: str, conditions: Sequence[npt.NDArray[np.bool_]]) -> list[str]:
        if self.which == "positive":
            conditions = [*conditions, self.images.positive(finding)]
        return [self.images.names[k] for k in np.flatnonzero(np.all(conditions, axis=0))]


def _reader(series: MapSeries, finding: str, images: Sequence[str]) -> Read:
    """Maps of images by their positions in a list."""
    def read(positions: Sequence[int]) -> npt.NDArray[np.float32]:
        return series.read([images[k] for k in positions], finding)

    return read
