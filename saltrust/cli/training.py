"""Training the entries of a study one after another, for every command that does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Collection as Names
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltrust.choices import OnError
from saltrust.cli.output import say
from saltrust.errors import DataError, NothingToDo, SaltrustError, UsageError, nearest

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.study import Study
    from saltrust.training_settings import TrainedEntry

Trainer = Callable[..., Path]


@dataclass(frozen=True)
class Launch:
    """How training is begun.

    Attributes
    ----------
    device : str, optional
        In place of that of the study.
    overwrite, resume : bool
        Train anew; go on with what was interrupted, and leave what is finished.  Both: go on, and
        begin anew only what was begun from something else.
    on_error : {'stop', 'skip'}
        What becomes of the job at files that cannot be read.
    """

    device: str | None = None
    overwrite: bool = False
    resume: bool = False
    on_error: OnError = "stop"


@dataclass
class Outcome:
    """What became of the entries of a study.

    Attributes
    ----------
    trained : dict of str to pathlib.Path
        Run folder of each that was trained now, by name.
    finished : list of NothingToDo
        A word on each that had been trained before.
    """

    trained: dict[str, Path] = field(default_factory=dict)
    finished: list[NothingToDo] = field(default_factory=list)


def open_training_data(study: Study, on_error: OnError, explained: Collection | None = None
                       ) -> Collection:
    """Open the data set that the models of a study are trained on.

    Parameters
    ----------
    study : Study
    on_error : {'stop', 'skip'}
    explained : Collection, optional
        That of ``[data]``, where it is open already.

    Raises
    ------
    UsageError, DataError
        If it cannot be opened, or names as training images some of a patient whose images of
        ``[data]`` are to be tuned or tested on.
    """
    from saltrust.datasets.registry import open_collection

    explained = explained or open_collection(study, on_error)
    if not study.training_data.kind:
        return explained
    collection = open_collection(study.for_training, on_error)
    of_training = _patients(collection, ("train",))
    leaking = sorted(of_training & _patients(explained, ("val", "test")))
    if leaking:
        more = f" (and {len(leaking) - 1} more)" if len(leaking) > 1 else ""
        raise DataError(f"patient {leaking[0]!r}{more} has images in split train of "
                        "[training_data] and in val or test of [data]: leave them out of one, or "
                        "the test is not a test")
    return collection


def _patients(collection: Collection, splits: Names[str]) -> set[str]:
    index = collection.index
    if "patient" not in index.coords or not splits_of(collection):
        return set()
    return {str(patient) for patient, split in zip(
        index["patient"].values.tolist(), splits_of(collection), strict=True)
        if patient and split in splits}


def splits_of(collection: Collection) -> list[str]:
    """The split of every image; empty where the data set states none."""
    index = collection.index
    return list(map(str, index["split"].values.tolist())) if "split" in index.coords else []


def train_models(collection: Collection, study: Study, names: Names[str], launch: Launch, *,
                 progress: bool = True, tell: Callable[[str], object] = say) -> Outcome:
    """Train the models of a study, or those of them that are named, in its order.

    Parameters
    ----------
    collection : Collection
        As :func:`open_training_data` gives it.
    study : Study
    names : collection of str
        Empty: all.
    launch : Launch
    progress : bool
    tell : callable
        Told of every model that has been trained.

    Raises
    ------
    UsageError
        If the study has nothing to train or lacks a name, or a run folder is not free.
    DataError
        As the trainers do.
    """
    overwrite, resume = launch.overwrite, launch.resume
    _check_folders(study, names, launch)
    trainers = _trainers(collection, study, names, overwrite=overwrite and not resume,
                         on_error=launch.on_error, progress=progress)
    known = [entry.name for entry, _ in trainers]
    if not known:
        raise UsageError(f"study {study.name!r} declares no [[models]]; add one with a name and "
                         "an architecture")
    for name in names:
        if name not in known:
            raise UsageError(f"study {study.name!r} has no model {name!r}; {nearest(name, known)}")
    outcome = Outcome()
    for entry, trainer in trainers:
        if names and entry.name not in names:
            continue
        run = functools.partial(trainer, collection, study, entry, progress=progress,
                                device=launch.device or study.generate.device)
        try:
            folder = resumed_or_anew(run, overwrite=overwrite) if resume else run(
                overwrite=overwrite)
        except NothingToDo as note:
            outcome.finished.append(note)
            continue
        except KeyboardInterrupt as error:
            if outcome.trained:
                error.add_note(f"trained are {', '.join(outcome.trained)}")
            raise
        outcome.trained[entry.name] = folder
        tell(f"{entry.name}: {folder}")
    return outcome


def resumed_or_anew(job: Callable[..., Path], *, overwrite: bool) -> Path:
    """Go on with a job; begin it anew where it cannot be gone on with and that is allowed.

    Parameters
    ----------
    job : callable
        Of training or generation: takes ``resume`` and ``overwrite``.
    overwrite : bool
        Whether what was begun from something else may be replaced.

    Raises
    ------
    NothingToDo
        If the very thing is there, finished.
    SaltrustError
        As the job does, also where it could not be begun anew.
    """
    try:
        return job(resume=True)
    except NothingToDo:
        raise
    except SaltrustError as error:
        # Nothing else, such as a lack of memory or of a file, is helped by beginning again.
        if not overwrite or "--overwrite" not in str(error):
            raise
    return job(overwrite=True)


def _check_folders(study: Study, names: Names[str], launch: Launch) -> None:
    """Refuse a folder of the last model now, and not when all others are trained."""
    from saltrust.training.runs.run_folder import check_run_folder

    for entry in study.trained:
        if not names or entry.name in names:
            check_run_folder(study.run_folder(entry), overwrite=launch.overwrite,
                             resume=launch.resume)


def _trainers(collection: Collection, study: Study, names: Names[str], *, overwrite: bool,
              on_error: OnError, progress: bool) -> list[tuple[TrainedEntry, Trainer]]:
    """What can be trained, in the order of the study file, and what trains it.

    Of those that were asked for, localizers are tried: their annotations may not do, and hours
    of training classifiers are no time to wait for that.
    """
    from saltrust.training.data.images import read_images
    from saltrust.training.tasks.classifier import train as train_classifier
    from saltrust.training.tasks.guided import train_guided

    # Decoded once, for all models; annotations likewise, for all localizers.
    images = functools.cache(lambda: read_images(collection, study.size, on_error=on_error,
                                                 progress=progress))
    trainers: dict[str, Any] = {
        "classifier": functools.partial(train_classifier, images=images),
        "guided": functools.partial(train_guided, images=images),
    }
    if study.localizers:
        from saltrust.training.data.annotated_images import read_annotations
        from saltrust.training.tasks.localizer import check_localizers, train_localizer

        annotated = functools.cache(
            lambda: read_annotations(collection, images(), on_error=on_error, progress=progress))
        localizer = functools.partial(train_localizer, annotated=annotated)
        check_localizers(collection, study, [
            spec for spec in study.localizers if not names or spec.name in names],
            annotated, overwrite=overwrite)
        trainers |= {"unet": localizer, "retinanet": localizer}
    return [(entry, trainers[entry.kind]) for entry in study.trained if entry.kind in trainers]
