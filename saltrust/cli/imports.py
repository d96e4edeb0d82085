"""``saltrust import``: other people's data sets and heatmaps as cubes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saltrust.choices import MapReading, OnError, words
from saltrust.cli.options import (
    PathType,
    command_line,
    on_error_option,
    overwrite_option,
    refuse_both,
    resume_option,
    seed_option,
    shows_progress,
    stack,
)
from saltrust.cli.output import say
from saltrust.errors import UsageError


@click.group(name="import")
def import_() -> None:
    """Turn released data sets and heatmaps into cubes."""


@import_.command()
@click.argument("directory", type=PathType(path_type=Path), metavar="DIR")
@click.option("-o", "--output", required=True, type=PathType(path_type=Path),
              metavar="CUBES", help="Store to write.")
@click.option("--reading", type=click.Choice(words(MapReading)), default="raw",
              show_default=True,
              help="What of the heatmaps is segmented and ranked where --map is auto.")
@overwrite_option
@resume_option
@on_error_option
@click.pass_context
def chexlocalize(ctx: click.Context, /, directory: Path, output: Path, reading: MapReading,
                 overwrite: bool, resume: bool, on_error: OnError) -> None:
    """Read the released CheXlocalize layout: heatmap pickles, masks, polygons, labels, images.

    Pickles are opened with an allow-list that rebuilds tensors and plain values only; one that
    tries anything else is refused.
    """
    from saltrust.datasets.chexlocalize.heatmap_import import import_chexlocalize

    refuse_both(overwrite=overwrite, resume=resume)
    path = import_chexlocalize(directory, output, reading=reading, overwrite=overwrite,
                               resume=resume, on_error=on_error,
                               progress=shows_progress(ctx))
    say(str(path))


_challenge_options = stack(
    click.option("--splits", type=PathType(path_type=Path), default=None,
                 help="CSV of image ids and their split; images not in it get split none."),
    click.option("--images", type=PathType(path_type=Path), default=None,
                 help="Folder of the radiographs (DICOM, PNG, JPEG); without it, annotations "
                      "only."),
    click.option("--size", type=click.IntRange(16, 4096), default=320, show_default=True,
                 help="Height and width of the grid."),
    click.option("-o", "--output", required=True, type=PathType(path_type=Path),
                 metavar="CUBES", help="Store to write."),
    overwrite_option,
    resume_option,
    on_error_option,
)


@import_.command(name="siim-acr")
@click.option("--rle", "rle_csv", required=True, type=PathType(path_type=Path),
              help="train-rle.csv, plain or gzipped.")
@_challenge_options
@click.pass_context
def siim_acr(ctx: click.Context, /, rle_csv: Path, output: Path, **options: Any) -> None:
    """Read the masks of the SIIM-ACR Pneumothorax challenge (native size 1024)."""
    from saltrust.datasets.challenges.siim_acr import import_siim_acr

    refuse_both(overwrite=options["overwrite"], resume=options["resume"])
    say(str(import_siim_acr(rle_csv, output, progress=shows_progress(ctx), **options)))


@import_.command()
@click.option("--labels", "labels_csv", required=True, type=PathType(path_type=Path),
              help="stage_2_train_labels.csv, plain or gzipped.")
@click.option("--classes", type=PathType(path_type=Path), default=None,
              help="stage_2_detailed_class_info.csv: images neither normal nor pneumonia are "
                   "left out.")
@_challenge_options
@click.pass_context
def rsna(ctx: click.Context, /, labels_csv: Path, output: Path, **options: Any) -> None:
    """Read the boxes of the RSNA Pneumonia challenge (native size 1024)."""
    from saltrust.datasets.challenges.rsna import import_rsna

    refuse_both(overwrite=options["overwrite"], resume=options["resume"])
    say(str(import_rsna(labels_csv, output, progress=shows_progress(ctx), **options)))


@import_.command(name="egd-cxr")
@click.argument("directory", type=PathType(path_type=Path), metavar="DIR")
@_challenge_options
@click.option("--heatmaps", type=PathType(path_type=Path), default=None,
              help="Folder of ready-made gaze heatmaps, ID.png or ID/heatmap.png, in the place of "
                   "those made of fixations.")
@click.option("--sigma", default="150px", show_default=True,
              help="Gaussian around a fixation: native pixels (150px) or part of the longer side "
                   "(5%).")
@click.option("--weight", type=click.Choice(["duration", "count"]), default="duration",
              show_default=True, help="What a fixation counts; the released code counts each "
                                      "once.")
@click.option("--fractions", default="0.8,0.1,0.1", show_default=True, metavar="TRAIN,VAL,TEST",
              help="Random split by patient, where --splits gives none.")
@seed_option
@click.pass_context
def egd_cxr(ctx: click.Context, /, directory: Path, output: Path, sigma: str, weight: str,
            fractions: str, **options: Any) -> None:
    """Read Eye Gaze Data for Chest X-rays: classes, and where a radiologist looked.

    DIR holds master_sheet.csv and fixations.csv.  --images is the folder of MIMIC-CXR, or of
    pictures named by DICOM id.
    """
    from saltrust.datasets.egd_cxr.collection import import_egd_cxr
    from saltrust.datasets.gaze_maps import GazeSmoothing

    refuse_both(overwrite=options["overwrite"], resume=options["resume"])
    path = import_egd_cxr(directory, output, smoothing=GazeSmoothing(sigma, weight),
                          split_fractions=_fractions(fractions), progress=shows_progress(ctx),
                          **options)
    say(str(path))


def _fractions(text: str) -> tuple[float, ...]:
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = ()
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-9:
        raise UsageError(f"--fractions must be three numbers (train, val, test) that add up to 1, "
                         f"such as 0.8,0.1,0.1, not {text!r}")
    return parts


@import_.command()
@click.argument("study", type=PathType(path_type=Path), metavar="STUDY.toml")
@click.option("-o", "--output", required=True, type=PathType(path_type=Path),
              metavar="CUBES", help="Store to write.")
@overwrite_option
@resume_option
@on_error_option
@click.pass_context
def study(ctx: click.Context, study: Path, output: Path, overwrite: bool, resume: bool,
          on_error: OnError) -> None:
    """Store the radiographs, labels and masks of a study file, without any model.

    Enough for `saltrust analyze descriptors` and for comparing readers; needs no torch.
    """
    from saltrust.cache.reference import import_collection
    from saltrust.datasets.registry import open_collection
    from saltrust.study_file import read_study

    refuse_both(overwrite=overwrite, resume=resume)
    declared = read_study(study)
    path = import_collection(
        open_collection(declared, on_error), output, grid=declared.size,
        attributes={"study": declared.as_dict(), "command_line": command_line(ctx)},
        overwrite=overwrite, resume=resume, on_error=on_error, progress=shows_progress(ctx))
    say(str(path))
