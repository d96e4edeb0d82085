"""The command line: click commands that import what they need when they run."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from saltrust import __version__
from saltrust.cli.analyze.classification import classification
from saltrust.cli.analyze.confidence import confidence
from saltrust.cli.analyze.faithfulness import faithfulness, perturbation
from saltrust.cli.analyze.froc import froc
from saltrust.cli.analyze.gaze import gaze
from saltrust.cli.analyze.group import analyze
from saltrust.cli.analyze.localization import descriptors, localization, thresholds
from saltrust.cli.analyze.mixed import mixed
from saltrust.cli.analyze.mrmc import mrmc
from saltrust.cli.analyze.regressions import regressions
from saltrust.cli.analyze.trustworthiness import (
    randomization,
    repeatability,
    reproducibility,
    specificity,
    utility,
)
from saltrust.cli.demo import demo
from saltrust.cli.export import export
from saltrust.cli.figure import figure
from saltrust.cli.generate import generate
from saltrust.cli.imports import import_
from saltrust.cli.info import info
from saltrust.cli.output import say
from saltrust.cli.plan import plan
from saltrust.cli.power import power
from saltrust.cli.protocol.command import protocol
from saltrust.cli.protocol.guided_training import guided_training
from saltrust.cli.protocol.localization import localization as protocol_localization
from saltrust.cli.protocol.trustworthiness import trustworthiness
from saltrust.cli.report import report
from saltrust.cli.signals import interruptible, sentence
from saltrust.cli.train import train
from saltrust.cli.verify import migrate, verify
from saltrust.errors import SaltrustError, without_middle
from saltrust.files import Advice, is_about_the_place, is_refused, writing_error
from saltrust.printable import printable
from saltrust.reading import shown


class _OrderedGroup(click.Group):
    """Commands in the order in which a study uses them; our errors become one sentence."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with interruptible():
            try:
                with _printable_usage():
                    return super().invoke(ctx)
            except KeyboardInterrupt as error:
                say(f"Error: {printable(sentence(error, ctx, sys.argv[1:]))}", err=True)
                ctx.exit(getattr(error, "exit_code", 130))
            except SaltrustError as error:
                if ctx.params.get("debug"):
                    traceback.print_exc()
                word = "Error" if error.exit_code else "Note"
                say(f"{word}: {printable(str(error))}", err=True)
                ctx.exit(error.exit_code)
            except (click.exceptions.Exit, click.ClickException, click.Abort):
                raise
            except Exception as error:
                text = _of_user(error) or _of_place(error) or _of_system(error)
                if text is None or ctx.params.get("debug"):
                    raise
                say(f"Error: {printable(text)}", err=True)
                ctx.exit(1)


def _of_place(error: Exception) -> str | None:
    """What to say where the system refuses a path, even to look at it; None of all else."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    if is_refused(error):
        return (f"{error.filename} cannot be reached ({error.strerror}); check its permissions, or "
                "choose another place")
    if is_about_the_place(error):
        return str(writing_error(error, Path(str(error.filename)), Advice("repeat the command")))
    return None


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Have click show what was typed as any text of others."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = without_middle(printable(error.message, kept="\n"))
        raise


def _of_system(error: Exception) -> str | None:
    """What to say where the system refused a file or memory; None of any other exception."""
    if isinstance(error, MemoryError):
        return ("this asks for more memory than there is; select fewer images, or take a machine "
                "with more")
    if (isinstance(error, OSError) and isinstance(error.filename, str | bytes)
            and error.strerror):
        return (f"{shown(os.fsdecode(error.filename))}: {error.strerror}; check the path and who "
                "may read and write it")
    return None


def _of_user(error: Exception) -> str | None:
    """What to say of an exception that code of the study raised; None of any other."""
    if "saltrust.models.user_code" not in sys.modules:  # No code of a study was imported.
        return None
    from saltrust.models.user_code import describe_error, is_of_study

    return f"{describe_error(error)}; say --debug for all of it" if is_of_study(error) else None


@click.group(cls=_OrderedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="saltrust")
@click.option("-q", "--quiet", is_flag=True, help="No warnings or progress on stderr.")
@click.option("--debug", is_flag=True, help="With an error, all that led to it.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, debug: bool) -> None:  # noqa: ARG001 - see invoke
    """Find out whether the saliency maps of a radiograph classifier deserve trust.

    \u0008
    saltrust demo                            a whole study on synthetic radiographs
    saltrust train STUDY.toml                train the models of a study
    saltrust generate STUDY.toml -o C.zarr   store heatmaps and predictions, once
    saltrust analyze regressions C.zarr      statistics from the cubes, any time
    saltrust protocol localization C.zarr -o DIR   tables, figures, methods
    saltrust protocol localization STUDY.toml -o DIR   all of these by one command

    Exit status: 0 done, 1 the data cannot give the result (and why), 2 wrong usage.
    """
    ctx.obj = {"progress": not quiet, "argv": sys.argv[1:]}
    ctx.with_resource(_warnings_on_stderr(logging.ERROR if quiet else logging.WARNING))


class _PrintableLines(logging.Formatter):
    """One line per message, whatever the labels and file names in it hold."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), kept="\n" if record.exc_info else "")


class _Once(logging.Filter):
    """The same sentence once a command: of twenty figures each lacks the same font."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text in self.shown:
            return False
        self.shown.add(text)
        return True


@contextmanager
def _warnings_on_stderr(level: int) -> Iterator[None]:
    """Show what the package logs, for one command; a program that calls it has its own ways."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableLines("%(levelname)s: %(message)s"))
    handler.addFilter(_Once())
    logger = logging.getLogger("saltrust")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


for _command in (power, plan, demo, import_, train, generate, info, analyze, protocol, figure,
                 report, export, verify, migrate):
    main.add_command(_command)

for _command in (descriptors, localization, thresholds, regressions, confidence, classification,
                 utility, randomization, repeatability, reproducibility, specificity,
                 faithfulness, perturbation, gaze, froc, mixed, mrmc):
    analyze.add_command(_command)
for _command in (protocol_localization, trustworthiness, guided_training):
    protocol.add_command(_command)
