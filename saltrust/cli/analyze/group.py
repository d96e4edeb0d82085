"""The group ``saltrust analyze``."""

from __future__ import annotations

import click


@click.group()
def analyze() -> None:
    """Compute statistics from cubes; needs neither torch nor a GPU.

    The result goes to stdout (--format table, json, csv, markdown or latex), everything else
    to stderr.
    """
