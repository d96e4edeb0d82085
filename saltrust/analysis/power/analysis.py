"""How large must a study be?  Power of the package's own tests, by simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.power.comparisons.declaration import Comparison
from saltrust.analysis.power.comparisons.registry import COMPARISONS
from saltrust.analysis.power.designs import Design, Designs
from saltrust.analysis.power.options import Pilot, PowerTest, Simulation, Stated
from saltrust.analysis.power.pilot import FEWEST_TO_TRUST, components, intraclass, resampled
from saltrust.analysis.power.samples import Sample
from saltrust.analysis.power.search import fewest_patients
from saltrust.analysis.power.simulation import Rate, Source, rate
from saltrust.analysis.power.stored_scores import pilot_scores
from saltrust.analysis.result import Result
from saltrust.analysis.scores.workers import executor
from saltrust.analysis.select import as_cubes
from saltrust.cache.identity import of_one_store
from saltrust.errors import UsageError

_DESIGN = ("comparison", "patients", "images", "readers", "models", "effect")
POWER_COLUMNS = (*_DESIGN, "power", "std_error", "conf_low", "conf_high", "mean_estimate",
                 "untested", "replicates", "note")
SMALLEST_COLUMNS = (*_DESIGN, "target", "power", "std_error", "conf_low", "conf_high",
                    "replicates", "looked_at", "note")
PILOT_COLUMNS = ("arm", "mean", "sd", "icc", "correlation", "images", "patients")
_WITHOUT_DIFFERENCE = ("equivalence", "non-inferiority")


@dataclass(frozen=True)
class _Question:
    """Everything that the rows of the tables share."""

    comparison: Comparison
    test: PowerTest
    designs: Designs
    simulation: Simulation
    note: str


@of_one_store
def power(cubes: xr.DataTree | str | Path | None = None, *, test: PowerTest = PowerTest(),
          stated: Stated = Stated(), pilot: Pilot = Pilot(), designs: Designs = Designs(),
          simulation: Simulation = Simulation(), scoring: Scoring = Scoring(),
          execution: Execution = Execution()) -> Result:
    """Power of a test over a grid of designs, and the fewest patients that reach a target.

    Parameters
    ----------
    cubes : xarray.DataTree or path, optional
        Pilot whose scores are drawn from; without one, ``stated`` says what scores are like.
    test : PowerTest
        What is compared, at which level.
    stated : Stated
        Mean, spread and correlations of the scores.  Of a pilot with ``use="components"``, what
        the pilot cannot tell.
    pilot : Pilot
        What of the cubes is taken.
    designs : Designs
        Patients, images of a patient, readers, models of an arm, and true effects.
    simulation : Simulation
        Replicates, seed, workers, and the target of the search.
    scoring : Scoring
        How the maps of the pilot are scored.
    execution : Execution
        The pass over the pilot's pixels.

    Returns
    -------
    Result
        ``power``: every design with its power, the Monte Carlo ``std_error`` and Wilson's
        interval of it, the mean estimate and how many data sets had no test (these do not
        reject).  ``smallest``: the fewest patients whose power reaches the target, with the power
        of new data sets of that size.  ``pilot``: means, spreads, intraclass and mutual
        correlations of the pilot.

    Raises
    ------
    DataError
        If the pilot holds no such scores, or they do not vary.
    UsageError
        If an option is out of range, or the comparison does not know it.

    Examples
    --------
    >>> result = power(test=PowerTest("clustered"), stated=Stated(correlation=0.5, sd=1.0),
    ...                designs=Designs(patients=(34,), effects=(0.5,)),
    ...                simulation=Simulation(replicates=200, target=None))
    >>> result["power"]["power"].between(0.7, 0.9).tolist()
    [True]
    """
    comparison = COMPARISONS[test.comparison]
    _check(comparison, test, stated, designs, from_cubes=cubes is not None)
    tables: dict[str, pd.DataFrame] = {}
    facts: dict[str, Any] = {}
    sample: Sample | None = None
    note = ""
    if cubes is not None:
        sample, facts = pilot_scores(as_cubes(cubes), comparison, test, pilot, scoring, execution)
        tables["pilot"] = _described(sample, facts["pair"])
        patients = len(set(sample.patients.tolist()))
        if patients < FEWEST_TO_TRUST:
            note = f"a pilot of {patients} patients: its variances are rough"
        _check_pilot(pilot, designs)
        if pilot.use == "components":
            stated = components(sample, test, stated)
    effects = _effects(comparison, test, designs, sample)
    question = _Question(comparison, test, designs, simulation, note)
    rows: list[dict[str, Any]] = []
    smallest: list[dict[str, Any]] = []
    with ExitStack() as stack:
        pool = (stack.enter_context(executor(simulation.workers, None))
                if simulation.workers > 1 else None)
        for images, readers, models, effect in designs.combinations(effects):
            source: Source = stated
            drawn = sample is not None and pilot.use == "resample"
            if sample is not None and drawn:
                source = resampled(comparison.shift(
                    np.random.default_rng(simulation.seed), sample,
                    effect - comparison.effect(sample), test))
            one = Design(2, "pilot" if drawn else images, readers, models, effect)
            rates = {count: rate(replace(one, patients=count), source, test, simulation,
                                 executor=pool) for count in dict.fromkeys(designs.patients)}
            rows += (_row(replace(one, patients=count), made, question)
                     for count, made in rates.items())
            if simulation.target is not None:
                smallest.append(_smallest(one, source, question, rates, pool))
    tables = {"power": pd.DataFrame(rows, columns=list(POWER_COLUMNS)),
              **({} if simulation.target is None else
                 {"smallest": pd.DataFrame(smallest, columns=list(SMALLEST_COLUMNS))}), **tables}
    return Result(_meta(question, stated, facts, pilot, from_cubes=cubes is not None), tables,
                  "power")


def _check(comparison: Comparison, test: PowerTest, stated: Stated, designs: Designs, *,
           from_cubes: bool) -> None:
    questions = comparison.questions
    if "margin" in questions and test.margin is None:
        raise UsageError(f"{test.comparison} needs a margin, such as --margin 0.05")
    if "margin" not in questions and test.margin is not None:
        raise UsageError(f"{test.comparison} has no margin; leave --margin out, or compare by "
                         "equivalence or non-inferiority")
    for name in ("readers", "models"):
        if name not in questions and any(count != 1 for count in getattr(designs, name)):
            raise UsageError(f"the comparison {test.comparison} has no {name}; leave --{name} out"
                             + (", or compare by readers" if name == "readers" else ""))
    if "readers" in questions and min(designs.readers or (1,)) < 2 and not (
            from_cubes and not designs.readers):
        raise UsageError("the comparison readers needs 2 readers or more, such as --readers 3,5")
    several = max(designs.models or (1,)) > 1
    if several and test.comparison in ("criteria", "mixed") and not stated.model_share:
        raise UsageError("with several models of an arm the mixed model needs to know how much of "
                         "a score another training changes; state --model-share, such as 0.2")
    if not designs.effects and not from_cubes and test.comparison not in _WITHOUT_DIFFERENCE:
        raise UsageError("power is of an effect, and none is stated; say --effect, such as 0.05")
    if test.outcome == "hit" and not 0 < stated.mean < 1:
        raise UsageError(f"mean = {stated.mean:g} is a hit rate and must lie between 0 and 1, such "
                         "as 0.5")
    if test.outcome == "hit" and not from_cubes:
        for effect in designs.effects:
            if not 0 < stated.mean + effect < 1:
                raise UsageError(f"mean {stated.mean:g} and effect {effect:g} make a hit rate of "
                                 f"{stated.mean + effect:g}; state others")


def _check_pilot(pilot: Pilot, designs: Designs) -> None:
    if pilot.use == "resample":
        for name in ("images", "readers", "models"):
            if getattr(designs, name):
                raise UsageError(f"a pilot whose patients are drawn has {name} of its own; leave "
                                 f"--{name} out, or say --use components")


def _effects(comparison: Comparison, test: PowerTest, designs: Designs, sample: Sample | None
             ) -> tuple[float, ...]:
    if designs.effects or sample is None or test.comparison in _WITHOUT_DIFFERENCE:
        return tuple(designs.effects) or (0.0,)
    return (comparison.effect(sample),)


def _identified(design: Design, question: _Question) -> dict[str, Any]:
    return {"comparison": question.test.comparison, **design.columns()}


def _interval(made: Rate, question: _Question) -> dict[str, float]:
    low, high = made.interval(question.simulation.confidence_level)
    return {"power": made.power, "std_error": made.std_error, "conf_low": low, "conf_high": high}


def _row(design: Design, made: Rate, question: _Question) -> dict[str, Any]:
    untested = (f"{made.untested} of {made.replicates} data sets have no test"
                if made.untested else "")
    return {**_identified(design, question), **_interval(made, question),
            "mean_estimate": made.mean_estimate, "untested": made.untested,
            "replicates": made.replicates,
            "note": "; ".join(filter(None, (question.note, untested)))}


def _smallest(one: Design, source: Source, question: _Question, rates: dict[int, Rate],
              pool: Executor | None) -> dict[str, Any]:
    """The fewest patients of one combination, and the power of new data sets of that size."""
    simulation, test = question.simulation, question.test
    assert simulation.target is not None

    def simulated(patients: int) -> float:
        if patients not in rates:
            rates[patients] = rate(replace(one, patients=patients), source, test, simulation,
                                   executor=pool)
        return rates[patients].power

    inside = [count for count in rates if count <= simulation.most_patients]
    # The grid's nearest to the target is the first guess.
    start = min(inside, key=lambda count: abs(rates[count].power - float(simulation.target or 0)),
                default=40)
    made = fewest_patients(simulated, simulation.target, simulation.most_patients,
                           level=test.level, start=start)
    row = {**_identified(replace(one, patients=made.patients), question),
           "target": simulation.target, "replicates": simulation.replicates,
           "looked_at": made.looked_at}
    if not made.patients:
        most = simulated(simulation.most_patients)
        return {**row, "patients": pd.NA, **dict.fromkeys(
            ("power", "std_error", "conf_low", "conf_high"), math.nan),
            "note": "; ".join(filter(None, (
                question.note, f"not reached with {simulation.most_patients} patients, of which "
                               f"the power is {most:.3f}")))}
    anew = rate(replace(one, patients=made.patients), source, test, simulation, part="anew",
                executor=pool)
    return {**row, **_interval(anew, question), "note": question.note}


def _described(sample: Sample, pair: str) -> pd.DataFrame:
    values = sample.values.mean(axis=2)
    correlation = (float(np.corrcoef(values.T)[np.triu_indices(values.shape[1], 1)].mean())
                   if values.shape[1] > 1 and len(values) > 1
                   and (values.std(axis=0) > 0).all() else math.nan)
    arms = pair.split(" - ") if values.shape[1] == 2 else _arms(pair, values.shape[1])
    return pd.DataFrame([{
        "arm": arm, "mean": float(column.mean()),
        "sd": float(column.std(ddof=1)) if len(column) > 1 else math.nan,
        "icc": intraclass(column, sample.patients), "correlation": correlation,
        "images": len(column), "patients": len(set(sample.patients.tolist()))}
        for arm, column in zip(arms, values.T, strict=True)], columns=list(PILOT_COLUMNS))


def _arms(pair: str, count: int) -> Iterator[str]:
    if count == 1:
        yield pair
        return
    yield pair.removeprefix("readers - ")
    yield from (f"reader {k}" for k in range(1, count))


def _meta(question: _Question, stated: Stated, facts: dict[str, Any], pilot: Pilot, *,
          from_cubes: bool) -> dict[str, Any]:
    test, simulation = question.test, question.simulation
    source = "stated values"
    if from_cubes:
        source = ("patients of the pilot drawn with replacement, all images of one together; the "
                  "effect is put in the place of theirs" if pilot.use == "resample" else
                  "normal scores with the pilot's mean, spread, intraclass and mutual correlation")
    return {
        "comparison": test.comparison, "compared_table": question.comparison.table,
        "decides": question.comparison.test, "outcome": test.outcome, "drawn_from": source,
        **({"pilot": facts} if facts else {}),
        **({} if from_cubes and pilot.use == "resample" else {"stated": asdict(stated)}),
        "alpha": test.alpha, "tests": test.tests, "level_of_a_test": test.level,
        **({} if test.margin is None else {"margin": test.margin}),
        "replicates": simulation.replicates, "resamples": test.resamples,
        "seed": simulation.seed, "confidence_level": simulation.confidence_level,
        "interval": "Wilson, of the simulated share: the Monte Carlo error, not that of what was "
                    "stated or of the pilot",
        **({} if simulation.target is None else {"target_power": simulation.target})}
