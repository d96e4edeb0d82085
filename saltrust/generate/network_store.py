"""The part of a store that belongs to one network: what is done, what is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.cache.flatness import is_flat
from saltrust.cache.radiographs import Decoded
from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter
from saltrust.errors import DataError
from saltrust.generate.plan import Positions
from saltrust.generate.radiographs import LoadedBatch, RadiographStore

Floats = npt.NDArray[np.float32]

_ALL = slice(None)


@dataclass(frozen=True)
class BatchResults:
    """What a network says of a batch, as it is stored.

    Attributes
    ----------
    decoded : dict of int to Decoded
        Still to be stored, by position.
    heatmaps : sequence of ndarray of float32, shape (B, f, y, x)
        One per explainer, in the order of the cubes; of localizers, which explain nothing, one.
        f: the findings of the network.
    values : dict of str to ndarray of float32, shape (B, f) or (B, f, explainer)
        By name of the variable, such as ``"prediction/logit"``; written in this order.
    """

    decoded: Mapping[int, Decoded]
    heatmaps: Sequence[Floats]
    values: Mapping[str, Floats]


@dataclass(frozen=True)
class NetworkStore:
    """The part of a store that belongs to one network.

    Maps are written first, then what is predicted, then status, so that a status other than
    missing says that everything before it is in the store, whenever the job is killed.

    Attributes
    ----------
    writer : StoreWriter
    radiographs : RadiographStore
        Of the same store; shared by all networks.
    group : {'saliency', 'randomization', 'localizer'}
        Where its heatmaps are.  A store without this group keeps its predictions only.
    at : tuple of int
        Positions of the network: model, and in ``/randomization`` replicate and stage.
    findings : ndarray of int, shape (f,), optional
        Positions of the findings it is about, where these are not all; of others it has no maps.
    """

    writer: StoreWriter
    radiographs: RadiographStore
    group: str
    at: tuple[int, ...]
    findings: Positions | None = None

    @property
    def has_maps(self) -> bool:
        """Whether the store keeps heatmaps of this network."""
        return self.group in self.writer.root

    def counts(self) -> dict[str, int]:
        """How many maps have which status, by its name."""
        if not self.has_maps:
            return {}
        status = self._status()
        return {code.name: int((status == code).sum()) for code in Status}

    def finished(self) -> npt.NDArray[np.bool_]:
        """Whether each image of the store has all its results of this network, or none to come.

        Of a radiograph that cannot be read there are none.
        """
        if self.has_maps:
            done = self._status() != Status.MISSING
        else:
            done = np.isfinite(self._of_network("prediction/probability"))
        complete = done.reshape(len(done), -1).all(axis=1) & self.radiographs.stored
        return np.asarray(complete | self.radiographs.left_out)

    def _status(self) -> npt.NDArray[np.uint8]:
        status = self._of_network(f"{self.group}/status")
        return status if self.findings is None else status[:, self.findings]

    def _of_network(self, name: str) -> npt.NDArray[Any]:
        """A variable of all images."""
        index: Any = (..., *self.at)
        return np.asarray(self.writer.array(name)[index])

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch, as :meth:`saltrust.generate.radiographs.RadiographStore.load`."""
        return self.radiographs.load(positions)

    def store(self, positions: Positions, results: BatchResults) -> None:
        """Write all results of a batch; nothing of radiographs that cannot be read.

        Parameters
        ----------
        positions : ndarray of int, shape (B,)
            Of the batch in the store.
        results : BatchResults

        Raises
        ------
        DataError
            If the disk is full; the store stays as it is, unfinished.
        """
        with self.writer.writing():
            self.radiographs.store(results.decoded)
            rows = np.flatnonzero(~self.radiographs.left_out[positions])
            present = positions[rows]
            if not len(rows):
                return
            for explainer, maps in enumerate(results.heatmaps):
                self._store_maps(present, explainer, maps[rows])
            for name, values in results.values.items():
                self._store_values(name, present, values[rows])
            if results.heatmaps:
                status = [map_status(maps[rows]) for maps in results.heatmaps]
                self._store_values(f"{self.group}/status", present,
                                   np.stack(status, axis=-1) if self._explains else status[0])

    def read(self, positions: Positions, names: Sequence[str]) -> BatchResults:
        """Results of a batch that is in the store already.

        Parameters
        ----------
        positions : ndarray of int, shape (B,)
        names : sequence of str
            Variables to read beside the heatmaps.

        Raises
        ------
        DataError
            If a map that is said to be usable has pixels that are missing or not finite.
        """
        heatmap = self.writer.array(f"{self.group}/heatmap") if self.has_maps else None
        n_explainers = 0 if heatmap is None else heatmap.shape[2] if self._explains else 1
        heatmaps = [
            np.stack([np.asarray(heatmap[self._of_map(position, explainer)])
                      for position in positions.tolist()])
            for explainer in range(n_explainers) if heatmap is not None
        ]
        if heatmaps:
            self._require_finite(positions, heatmaps)
        return BatchResults({}, heatmaps, {name: self._values(name, positions) for name in names})

    def _require_finite(self, positions: Positions, heatmaps: Sequence[Floats]) -> None:
        status = self._of_network(f"{self.group}/status")[positions]
        for explainer, maps in enumerate(heatmaps):
            of_maps = status[..., explainer] if self._explains else status
            lost = (of_maps == Status.OK) & ~np.isfinite(maps.sum(axis=(-2, -1), dtype=np.float64))
            if lost.any():
                image = self.writer.labels("image")[positions[np.argwhere(lost)[0][0]]]
                raise DataError(f"{self.writer.partial} has lost maps of image {image!r} that it "
                                "says are finished; repeat the command with --overwrite")

    @property
    def _explains(self) -> bool:
        """Whether its maps have the dimension ``explainer``."""
        return self.group != "localizer"

    def _of_map(self, position: int, explainer: int) -> tuple[Any, ...]:
        # All findings of an image are one shard, so this is one file.
        return (position, _ALL, *((explainer,) if self._explains else ()), *self.at)

    def _store_maps(self, positions: Positions, explainer: int, maps: Floats) -> None:
        heatmap = self.writer.array(f"{self.group}/heatmap")
        for position, block in zip(positions.tolist(), maps, strict=True):
            heatmap[self._of_map(position, explainer)] = self._of_all_findings(
                block, heatmap.shape[1])

    def _of_all_findings(self, block: Floats, n_findings: int) -> Floats:
        if self.findings is None:
            return block
        whole = np.full((n_findings, *block.shape[1:]), np.nan, np.float32)
        whole[self.findings] = block
        return whole

    def _region(self, positions: Positions, n_dims: int) -> Any:
        """Values of some images; selected with lists, the network stays ``len(at)`` dimensions."""
        findings = _ALL if self.findings is None else self.findings
        rest = [_ALL] * (n_dims - 2)
        return (positions, findings, *rest, *(np.array([position]) for position in self.at))

    def _store_values(self, name: str, positions: Positions, values: npt.NDArray[Any]) -> None:
        self.writer.array(name).set_orthogonal_selection(
            self._region(positions, values.ndim),
            np.expand_dims(values, tuple(range(values.ndim, values.ndim + len(self.at)))))

    def _values(self, name: str, positions: Positions) -> npt.NDArray[Any]:
        array = self.writer.array(name)
        values = np.asarray(array.get_orthogonal_selection(
            self._region(positions, array.ndim - len(self.at))))
        return values.reshape(values.shape[:values.ndim - len(self.at)])


def map_status(maps: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Judge maps by their values.

    Parameters
    ----------
    maps : ndarray of float, shape (..., y, x)

    Returns
    -------
    ndarray of uint8, shape (...)
        :class:`~saltrust.cache.schema.Status`: NONFINITE where any value is NaN or infinite,
        else FLAT where all are equal but for rounding
        (:func:`saltrust.cache.flatness.is_flat`), else OK.

    Examples
    --------
    >>> maps = np.array([[[0.0, 1.0]], [[2.0, 2.0]], [[0.0, np.nan]]])
    >>> [Status(code).name for code in map_status(maps)]
    ['OK', 'FLAT', 'NONFINITE']
    """
    finite = np.isfinite(maps).all(axis=(-2, -1))
    low, high = (np.where(finite, edge(maps, axis=(-2, -1)), 0) for edge in (np.min, np.max))
    flat = is_flat(low, high)
    status = np.where(flat, Status.FLAT, Status.OK)
    return np.where(finite, status, Status.NONFINITE).astype(np.uint8)
