"""The data set that a study file names, opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saltrust.cache.collection import Collection
from saltrust.errors import UsageError
from saltrust.study import Study


def open_collection(study: Study) -> Collection:
    """Open the data set of a study.

    Parameters
    ----------
    study : Study
        Its ``[data]`` says what kind of data set, where it lies and which findings are asked.

    Returns
    -------
    Collection

    Raises
    ------
    UsageError
        If the path is missing from the study file or does not exist.
    DataError
        If the data set is empty, damaged or lacks a finding; each kind says more.
    """
    data = study.data
    fractions = data.split_fractions or (0.7, 0.1, 0.2)
    if data.kind == "phantom":
        from saltrust.datasets.files.gaze_maps import DEFAULT_SIGMA, GazeSmoothing
        from saltrust.datasets.phantom.collection import phantom

        smoothing = GazeSmoothing(data.sigma or DEFAULT_SIGMA, data.weight)
        return phantom(patients=data.patients, size=data.size, seed=study.seed,
                       findings=data.findings, split_fractions=fractions,
                       gaze=smoothing if data.gaze else None)
    if not data.path:
        raise UsageError(f"[data] of the study in {study.folder} says kind = {data.kind!r} but "
                         "no path; add path")
    path = study.path(data.path)
    if not path.exists():
        raise UsageError(f"the data path {path} of the study in {study.folder} does not exist; "
                         "correct path under [data] (it starts at the study file)")
    if data.kind == "folder":
        from saltrust.datasets.folder import folder

        return folder(path, findings=data.findings, split_fractions=fractions,
                      seed=study.seed)
    if data.kind == "manifest":
        from saltrust.datasets.manifest.collection import manifest

        return manifest(path, findings=data.findings, covariates=data.covariates,
                        split_fractions=fractions, seed=study.seed)
    if data.kind == "chexlocalize":
        from saltrust.datasets.chexlocalize.collection import chexlocalize

        return chexlocalize(path, findings=data.findings)
    if data.kind == "egd-cxr":
        return _egd_cxr(study, path)
    if data.kind in ("siim-acr", "rsna"):
        return _challenge(study, path)
    from saltrust.datasets.stored_cubes import stored_cubes

    return stored_cubes(path, findings=data.findings)


def _egd_cxr(study: Study, path: Path) -> Collection:
    from saltrust.datasets.egd_cxr.collection import SIGMA, SPLIT_FRACTIONS, egd_cxr
    from saltrust.datasets.files.gaze_maps import GazeSmoothing

    data = study.data
    beside = _beside(study, "images", "heatmaps", "splits")
    return egd_cxr(path, findings=data.findings, seed=study.seed,
                   split_fractions=data.split_fractions or SPLIT_FRACTIONS,
                   smoothing=GazeSmoothing(data.sigma or SIGMA, data.weight), **beside)


def _challenge(study: Study, path: Path) -> Collection:
    from saltrust.datasets.challenges.collection import SPLIT_FRACTIONS
    from saltrust.datasets.challenges.rsna import rsna
    from saltrust.datasets.challenges.siim_acr import siim_acr

    data = study.data
    choices: dict[str, Any] = {"findings": data.findings, "seed": study.seed,
                               "split_fractions": data.split_fractions or SPLIT_FRACTIONS}
    if data.kind == "rsna":
        return rsna(path, **_beside(study, "images", "splits", "classes"), **choices)
    return siim_acr(path, **_beside(study, "images", "splits"), **choices)


def _beside(study: Study, *names: str) -> dict[str, Path | None]:
    """Further files and folders that ``[data]`` names, relative to the study file."""
    return {name: study.path(text) if (text := getattr(study.data, name)) else None
            for name in names}
