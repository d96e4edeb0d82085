"""``saltrust demo``: a whole study on synthetic radiographs."""

from __future__ import annotations

from pathlib import Path

import click

from saltrust.cli.options import PathType, command_line, overwrite_option, shows_progress
from saltrust.cli.threads import wait_passively

STUDY = """\
# A whole study on synthetic radiographs.  Change it and run
#   saltrust train study.toml && saltrust generate study.toml -o study.zarr
name = "phantom-demo"
seed = 7
grid = 96

explainers = ["grad", "gradcam"]

[data]
kind = "phantom"
patients = 700
size = 192
split_fractions = [0.72, 0.1, 0.18]

[train]
epochs = 26
batch_size = 16
learning_rate = 2e-3
augment = true
patience = 8

[generate]
split = "test"
batch_size = 16

[[models]]
name = "phantom-net"
architecture = "phantom_net"
seed = 1
"""


@click.command()
@click.option("-o", "--output", default="saltrust-demo", show_default=True,
              type=PathType(path_type=Path), metavar="DIR", help="Folder to work in.")
@overwrite_option
@click.pass_context
def demo(ctx: click.Context, output: Path, overwrite: bool) -> None:
    """Train, explain, analyse and report on synthetic radiographs with known masks.

    Needs no data, no R and no GPU; takes about three minutes on two cores.
    """
    from saltrust.cli.demo_run import run_demo

    wait_passively()
    run_demo(output, STUDY, overwrite=overwrite, progress=shows_progress(ctx),
             command_line=command_line(ctx))
