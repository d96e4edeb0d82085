"""Generating cubes, for every command that does: headers first, then the job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saltrust.cache.collection import Collection
    from saltrust.generate.job import Overrides
    from saltrust.study import Study


def generate_cubes(collection: Collection, study: Study, output: Path, *, overrides: Overrides,
                   overwrite: bool = False, resume: bool = False, progress: bool = True,
                   command_line: str = "") -> Path:
    """Generate the cubes of a study, once all of its files have been looked into.

    Parameters
    ----------
    collection, study, output, overrides, overwrite, resume, progress, command_line
        As of :func:`saltrust.generate.job.generate`.

    Raises
    ------
    SaltrustError
        As the job does; before it begins where files cannot be read and that is to stop it.
    """
    from saltrust.cache.collection import radiograph_files
    from saltrust.datasets.files.headers import require_headers
    from saltrust.generate.job import generate
    from saltrust.generate.plan import select_images

    if overrides.on_error == "stop":
        names = collection.index["image"].values
        require_headers(radiograph_files(collection), [
            str(names[at]) for at in select_images(collection, study.generate.split)],
            progress=progress)
    return generate(collection, study, output, overwrite=overwrite, resume=resume,
                    overrides=overrides, progress=progress, command_line=command_line)
