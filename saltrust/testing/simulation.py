"""Writing a simulated study into a store, as ``saltrust generate`` would leave it."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from saltrust.cache.checksums import sealed_attributes
from saltrust.cache.radiographs import write_radiographs
from saltrust.cache.readings import BY_NAME, READING
from saltrust.cache.reference import write_annotations
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.errors import UsageError, nearest
from saltrust.testing.curves import curve_facts, curve_labels, simulated_curves
from saltrust.testing.fields import FloatArray
from saltrust.testing.maps import (
    EXPLAINERS,
    REPLICATES,
    STAGES,
    explained_maps,
    fail,
    localizer_maps,
    randomized_maps,
    statuses,
)
from saltrust.testing.models import (
    CLASSIFIERS,
    GUIDED_CLASSIFIERS,
    LOCALIZERS,
    SimulatedModel,
    model_facts,
    model_labels,
    predicted_probabilities,
)
from saltrust.testing.perturbed import perturbation_labels, simulated_perturbation
from saltrust.testing.readers import N_FIXATIONS, RANDOM, SimulatedStudy, draw_study

PARTS = ("radiograph", "randomization", "localizer", "gaze", "guidance", "faithfulness",
         "perturbation")
#: Kept scores are keyed by when a store was finished, and the same seed is the same store.
_MOMENT = "2000-01-01T00:00:00+00:00"


def simulate_cubes(
    path: str | Path | None = None, *, patients: int = 24, images_per_patient: int = 2,
    findings: Sequence[str] = ("Cardiomegaly", "Edema", "Pneumothorax"), grid: int = 32,
    parts: Sequence[str] = ("radiograph", "randomization", "localizer", "gaze"), seed: int = 0,
) -> xr.DataTree:
    """Simulate the store of a whole finished study, without a model or a radiograph.

    Images have labels of every kind, masks of a reference reader and of two benchmark readers,
    predictions of two models of one architecture and of one of another, and maps of three
    explainers: ``gradcam`` localizes well, ``guided_backprop`` less so and it shows the
    radiograph's texture whatever the model, ``grad`` misses mostly.  A few maps of each are
    missing, flat or not finite.  No number means anything: this is to try analyses out and to
    test them.

    Parameters
    ----------
    path : path, optional
        Folder to write, which must not exist; by default a temporary one, which is removed when
        the program ends.
    patients, images_per_patient : int
        At least 8 images in all.  Images are views of one examination or, of every third
        patient, of several; patients are split into test, train and val.
    findings : sequence of str
    grid : int
        Height and width of every map, at least 8.  Radiographs are larger, of three sizes.
    parts : sequence of str
        What the store holds beside ``/reference``, ``/prediction`` and ``/saliency``:
        ``radiograph``: pixels; ``randomization``: maps of one model at four stages and in two
        replicates of cascading randomization; ``localizer``: maps of two networks that localize;
        ``gaze`` of two readers, with fixations of one; ``guidance``: in the place of the models
        six of which some were trained with gaze (needs ``gaze``); ``faithfulness``: curves of
        every map and of five random orders, by which ``gradcam`` is the most faithful and
        ``grad`` no better than chance; ``perturbation``: changes of predictions and maps of the
        first model.
    seed : int
        The same arguments give the same store, bit for bit, whatever the other parts.

    Returns
    -------
    xarray.DataTree
        What :func:`saltrust.open_cubes` gives for ``path``.

    Raises
    ------
    UsageError
        If a part is not known, a number is too small, or something is at ``path`` already.

    Examples
    --------
    >>> cubes = simulate_cubes(patients=6, findings=["Edema"], parts=[])
    >>> dict(cubes["saliency/heatmap"].sizes)
    {'image': 12, 'finding': 1, 'explainer': 3, 'model': 3, 'y': 32, 'x': 32}
    >>> cubes["saliency/explainer"].values.tolist()
    ['gradcam', 'guided_backprop', 'grad']
    """
    _check(patients, images_per_patient, findings, grid, parts)
    study = draw_study(patients, images_per_patient, findings, grid, seed,
                       has_radiographs="radiograph" in parts, has_gaze="gaze" in parts)
    models = GUIDED_CLASSIFIERS if "guidance" in parts else CLASSIFIERS
    decoders = [model for model in models if model.guidance.get("loss") in ("decoder", "set3")]
    localizers = (*(LOCALIZERS if "localizer" in parts else ()), *decoders)
    with _create(Path(path) if path is not None else _temporary_path(), study, models,
                 localizers, parts) as writer:
        write_annotations(writer, study)
        if study.has_radiographs:
            write_radiographs(writer, study, writer.labels("image"))
        probability = _write_predictions(writer, study, models)
        if "faithfulness" in parts:
            curves = simulated_curves(study, probability, statuses(study, len(models)))
            for name, values in curves.items():
                writer.write(f"faithfulness/{name}", slice(None), values)
        if "perturbation" in parts:
            changes = simulated_perturbation(study, probability, statuses(study, len(models)))
            for name, values in changes.items():
                writer.write(f"perturbation/{name}", slice(None), values)
        _write_maps(writer, study, models)
        if localizers:
            _write_localizers(writer, study, localizers, decoders)
        finished = writer.finish()
    attributes = zarr.open_group(finished, mode="r+").attrs
    attributes.put(sealed_attributes(finished, {
        **attributes, "started": _MOMENT, "finished": _MOMENT,
        "run_id": _run_id(attributes["identity"])}))
    return open_cubes(finished)


def _run_id(identity: Any) -> str:
    """The run of a store that is the same store whenever it is made."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _check(patients: int, images_per_patient: int, findings: Sequence[str], grid: int,
           parts: Sequence[str]) -> None:
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise UsageError(f"the part {unknown[0]!r} is not known; {nearest(unknown[0], PARTS)}")
    if "guidance" in parts and "gaze" not in parts:
        raise UsageError("models are guided by gaze; add the part 'gaze'")
    if patients < 1 or images_per_patient < 1 or patients * images_per_patient < 8:
        raise UsageError(f"{patients} patients with {images_per_patient} images each are fewer "
                         "than 8 images; simulate more")
    if isinstance(findings, str) or not findings:
        raise UsageError("findings must be a sequence of at least one name")
    if grid < 8:
        raise UsageError(f"a grid of {grid} pixels is too small; 8 is the least")


def _temporary_path() -> Path:
    folder = tempfile.mkdtemp(prefix="saltrust-simulated-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "study.zarr"


def _create(path: Path, study: SimulatedStudy, models: Sequence[SimulatedModel],
            localizers: Sequence[SimulatedModel], parts: Sequence[str]) -> StoreWriter:
    groups = ["reference", "prediction", "saliency"]
    groups += [part for part in ("radiograph", "randomization", "faithfulness", "perturbation")
               if part in parts]
    groups += ["localizer"] if localizers else []
    randomization = model_labels(models[:1]).assign_coords({
        "replicate": np.arange(REPLICATES),
        "replicate_seed": ("replicate", 1 + np.arange(REPLICATES)), "stage": list(STAGES)})
    explainers = xr.Dataset(coords={
        "explainer": list(EXPLAINERS), "explainer_parameters":
            ("explainer", [kind.parameters for kind in EXPLAINERS.values()]),
        READING: ("explainer", [BY_NAME.get(name, "raw") for name in EXPLAINERS])})
    return create_store(
        path, index=study.index, grid=(study.grid, study.grid), groups=groups,
        models=model_labels(models), explainers=explainers,
        randomization=randomization if "randomization" in parts else None,
        localizers=model_labels(localizers) if localizers else None,
        faithfulness=curve_labels() if "faithfulness" in parts else None,
        perturbation=perturbation_labels(models) if "perturbation" in parts else None,
        n_points=study.index.attrs["n_points"], n_boxes=study.index.attrs["n_boxes"],
        n_fixations=N_FIXATIONS if study.has_gaze else None,
        identity={"data set": study.fingerprint, "parts": sorted(parts)},
        attributes={
            "data": study.description, "data_fingerprint": study.fingerprint,
            "models": model_facts(models),
            **({"localizers": model_facts(localizers)} if localizers else {}),
            **({"faithfulness": curve_facts(study.seed)} if "faithfulness" in parts else {}),
            "seeds": {"study": study.seed, "models": {m.name: m.seed for m in models}}})


def _write_predictions(writer: StoreWriter, study: SimulatedStudy,
                       models: Sequence[SimulatedModel]) -> FloatArray:
    """Write and return probabilities, shape (image, finding, model)."""
    probability = predicted_probabilities(study, models)
    writer.write("prediction/probability", slice(None), probability.astype(np.float32))
    writer.write("prediction/logit", slice(None),
                 np.log(probability / (1 - probability)).astype(np.float32))
    if "randomization" not in writer.root:
        return probability
    stages = study.stream(RANDOM).random(
        (*probability.shape[:2], 1, REPLICATES, len(STAGES))) * 0.4 + 0.3
    stages[..., 0] = probability[:, :, :1, None]
    writer.write("randomization/probability", slice(None), stages.astype(np.float32))
    return probability


def _write_maps(writer: StoreWriter, study: SimulatedStudy, models: Sequence[SimulatedModel]
                ) -> None:
    status = statuses(study, len(models))
    # The first stage is the trained model and fails where it does; random weights never do.
    staged = np.full((*status.shape[:3], 1, REPLICATES, len(STAGES)), int(Status.OK),
                     dtype=np.uint8)
    staged[..., 0] = status[:, :, :, :1, None]
    for image in range(len(status)):
        maps = explained_maps(study, image, models)
        writer.write("saliency/heatmap", slice(image, image + 1),
                     fail(maps, status[image])[None])
        if "randomization" in writer.root:
            stages = randomized_maps(study, image, maps[:, :, 0])[:, :, None]
            writer.write("randomization/heatmap", slice(image, image + 1),
                         fail(stages, staged[image])[None])
    writer.write("saliency/status", slice(None), status)
    if "randomization" in writer.root:
        writer.write("randomization/status", slice(None), staged)


def _write_localizers(writer: StoreWriter, study: SimulatedStudy,
                      localizers: Sequence[SimulatedModel], decoders: Sequence[SimulatedModel]
                      ) -> None:
    n_localizers = len(localizers) - len(decoders)
    scores = np.full((*study.labels().shape, len(localizers)), np.nan, dtype=np.float32)
    for image in range(len(scores)):
        maps = localizer_maps(study, image, n_localizers, decoders).astype(np.float32)
        writer.write("localizer/heatmap", slice(image, image + 1), maps[None])
        # Decoders say where, not whether.
        scores[image, :, :n_localizers] = maps[:, :n_localizers].max(axis=(-2, -1))
    writer.write("localizer/score", slice(None), scores)
    writer.write("localizer/status", slice(None),
                 np.full(scores.shape, int(Status.OK), dtype=np.uint8))
