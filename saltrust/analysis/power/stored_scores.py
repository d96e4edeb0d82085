"""Scores of pilot cubes, in the form that a comparison draws from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.cases import case_table
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.power.comparisons.declaration import Comparison
from saltrust.analysis.power.options import Pilot, PowerTest
from saltrust.analysis.power.pilot import sample_of
from saltrust.analysis.power.samples import Sample
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.shape.descriptors import COLUMNS
from saltrust.analysis.shape.score_frame import score_frame
from saltrust.analysis.trustworthiness.utility_scores import BASELINE, utility_scores
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import shown

#: Of a map, whose decision power is of (saltrust.analysis.trustworthiness.utility).
_METRIC = "average_precision"
_ORDER = {"trained": 0, "localizer": 1, BASELINE: 2}

def pilot_scores(cubes: xr.DataTree, comparison: Comparison, test: PowerTest, pilot: Pilot,
                 scoring: Scoring, execution: Execution) -> tuple[Sample, dict[str, str]]:
    """Scores of a pilot, and what they are of.

    Parameters
    ----------
    cubes : xarray.DataTree
    comparison : Comparison
        Says where its scores come from.
    test : PowerTest
    pilot : Pilot
    scoring : Scoring
    execution : Execution

    Returns
    -------
    sample : Sample
    facts : dict of str to str
        Finding, model, pair and score.

    Raises
    ------
    DataError
        If the cubes hold no such scores, or no image has both.
    UsageError
        If a name is not known, or there are several and none was named.
    """
    readers: dict[str, Callable[[], tuple[Sample, dict[str, str]]]] = {
        "maps": lambda: _maps(cubes, test, pilot, scoring, execution),
        "readers": lambda: _readers(cubes, test, pilot, scoring, execution),
        "utility": lambda: _utility(cubes, pilot, execution),
        "slope": lambda: _slope(cubes, pilot, scoring, execution),
        "auc": lambda: _auc(cubes, pilot)}
    if comparison.pilot not in readers:
        raise UsageError(f"the comparison {test.comparison} takes stated values, no cubes; leave "
                         "the cubes out and state --mean, --sd, --icc")
    sample, facts = readers[comparison.pilot]()
    if not len(sample.values):
        raise DataError(f"no image of the pilot has the scores of {' and '.join(facts.values())}; "
                        "name others, or a pilot with more images")
    return sample, facts


def _one(table: pd.DataFrame, column: str, asked: str | None, *, many: bool = False) -> str:
    """The label that was named; the only one; or the first where others are no loss."""
    known = [str(name) for name in dict.fromkeys(table[column])]
    if asked is not None and asked not in known:
        raise UsageError(f"the pilot has no {column} {shown(asked)}; {nearest(asked, known)}")
    if asked is None and len(known) > 1 and not many:
        raise UsageError(f"the pilot has {len(known)} {column}s and power is of one; say "
                         f"--{column} with one of {', '.join(known)}")
    if not known:
        raise DataError(f"the pilot has no scores of any {column}; generate maps and predictions "
                        "of its images first")
    return asked if asked is not None else known[0]


def _two(names: Sequence[str], asked: tuple[str, str] | None, what: str) -> tuple[str, str]:
    known = list(dict.fromkeys(map(str, names)))
    if asked is None:
        if len(known) < 2:
            raise DataError(f"the pilot has {len(known)} {what}{'s' * (len(known) != 1)} and two "
                            "are compared; generate another, or state values with --sd")
        return known[0], known[1]
    for name in asked:
        if name not in known:
            raise UsageError(f"the pilot has no {what} {shown(name)}; {nearest(name, known)}")
    return asked


def _columns(table: pd.DataFrame, by: str, pair: tuple[str, ...], value: str) -> Sample:
    wide = table.pivot_table(index=["image", "patient"], columns=by, values=value, sort=False)
    patients = wide.index.get_level_values("patient").to_numpy()
    absent = [name for name in pair if name not in wide]
    if absent:
        raise DataError(f"{' and '.join(absent)} of the pilot have no {value}; name others")
    return sample_of(wide[list(pair)].to_numpy(np.float64), patients)


def _scored(cubes: xr.DataTree, pilot: Pilot, scoring: Scoring, execution: Execution,
            ) -> tuple[pd.DataFrame, str]:
    """Scores of one finding against one reference reader."""
    table = score_maps(cubes, scoring, execution).table
    finding = _one(table, "finding", pilot.finding)
    table = table[table["finding"] == finding]
    table = table[table["reader"] == _one(table, "reader", None, many=True)]
    patients = table["patient"].astype(str)
    return table.assign(patient=patients.where(patients != "", table["image"])), finding


def _maps(cubes: xr.DataTree, test: PowerTest, pilot: Pilot, scoring: Scoring,
          execution: Execution) -> tuple[Sample, dict[str, str]]:
    table, finding = _scored(cubes, pilot, scoring, execution)
    table = table[table["explainer"] != EXPERT]
    model = _one(table, "model", pilot.model, many=True)
    table = table[table["model"] == model]
    pair = _two(table["explainer"].tolist(), pilot.pair, "explainer")
    score = "hit" if test.outcome == "hit" else "iou"
    return (_columns(table, "explainer", pair, score),
            {"finding": finding, "model": model, "pair": " - ".join(pair), "score": score})


def _readers(cubes: xr.DataTree, test: PowerTest, pilot: Pilot, scoring: Scoring,
             execution: Execution) -> tuple[Sample, dict[str, str]]:
    """The AI, then its readers."""
    table, finding = _scored(cubes, pilot, scoring, execution)
    people = table[table["explainer"] == EXPERT]
    maps = table[table["explainer"] != EXPERT]
    model = _one(maps, "model", pilot.model, many=True)
    maps = maps[maps["model"] == model]
    explainer = _one(maps, "explainer", pilot.pair[0] if pilot.pair else None, many=True)
    readers = [str(name) for name in dict.fromkeys(people["model"])]
    if len(readers) < 2:
        raise DataError(f"the pilot has {len(readers)} benchmark reader"
                        f"{'s' * (len(readers) != 1)}, and how readers vary needs two; state "
                        "--reader-sd instead")
    score = "hit" if test.outcome == "hit" else "iou"
    both = pd.concat([maps[maps["explainer"] == explainer].assign(who="AI"),
                      people.assign(who="reader " + people["model"].astype(str))])
    return (_columns(both, "who", ("AI", *(f"reader {name}" for name in readers)), score),
            {"finding": finding, "model": model, "pair": f"readers - {explainer}", "score": score})


def _utility(cubes: xr.DataTree, pilot: Pilot, execution: Execution
             ) -> tuple[Sample, dict[str, str]]:
    table = utility_scores(cubes, progress=execution.progress).table
    finding = _one(table, "finding", pilot.finding)
    table = table[(table["finding"] == finding)
                  & table["condition"].isin(_ORDER)]
    trained = table[table["condition"] == "trained"]
    model = _one(trained, "model", pilot.model, many=True)
    table = table[(table["condition"] != "trained") | (table["model"] == model)]
    # An explainer comes first, and what it is tried against after it.
    order = table.sort_values("condition", key=lambda names: names.map(_ORDER), kind="stable")
    names = list(dict.fromkeys(order["explainer"]))
    pair = _two([names[0], *names[:0:-1]] if pilot.pair is None else names, pilot.pair,
                "explainer")
    return (_columns(table, "explainer", pair, _METRIC),
            {"finding": finding, "model": model, "pair": " - ".join(pair),
             "score": "average precision"})


def _slope(cubes: xr.DataTree, pilot: Pilot, scoring: Scoring, execution: Execution
           ) -> tuple[Sample, dict[str, str]]:
    frame = score_frame(cubes, scoring, execution)
    if pilot.descriptor not in COLUMNS[3:]:
        raise UsageError(f"there is no descriptor {shown(pilot.descriptor)}; "
                         f"{nearest(pilot.descriptor, COLUMNS[3:])}")
    frame = frame[(frame["explainer"] != EXPERT)]
    finding = _one(frame, "finding", pilot.finding)
    frame = frame[frame["finding"] == finding]
    for column, asked in (("reader", None), ("model", pilot.model),
                          ("explainer", pilot.pair[0] if pilot.pair else None)):
        frame = frame[frame[column] == _one(frame, column, asked, many=True)]
    x = frame[pilot.descriptor].to_numpy(np.float64)
    patients = frame["patient"].astype(str) if "patient" in frame else frame["image"]
    sample = sample_of(frame[["iou"]].to_numpy(np.float64),
                       patients.where(patients != "", frame["image"]).tolist(), x)
    spread = float(np.std(sample.covariate, ddof=1)) if len(sample.covariate) > 1 else 0.0
    if not spread > 0:
        raise DataError(f"{pilot.descriptor} does not vary in the pilot; name another with "
                        "--descriptor")
    standardized = (sample.covariate - sample.covariate.mean()) / spread
    return (Sample(sample.values, sample.patients, standardized),
            {"finding": finding, "model": str(frame["model"].iloc[0]),
             "pair": f"{frame['explainer'].iloc[0]} on {pilot.descriptor}", "score": "iou"})


def _auc(cubes: xr.DataTree, pilot: Pilot) -> tuple[Sample, dict[str, str]]:
    table, _ = case_table(cubes)
    finding = _one(table, "finding", pilot.finding)
    table = table[table["finding"] == finding].rename(columns={"case": "image"})
    pair = _two(table["model"].tolist(), pilot.pair, "model")
    wide = table.pivot_table(index=["image", "patient", "label"], columns="model",
                             values="probability", sort=False)
    labels = wide.index.get_level_values("label").to_numpy().astype(np.float64)
    if len(set(labels)) < 2:
        raise DataError(f"the pilot has cases of {finding} of one class only, and an area under a "
                        "curve needs both; choose another finding or split")
    # On the scale on which a shift moves no probability out of [0, 1].
    inside = np.clip(wide[list(pair)].to_numpy(np.float64), 1e-9, 1 - 1e-9)
    return (sample_of(np.log(inside / (1 - inside)),
                      wide.index.get_level_values("patient").to_numpy(), labels),
            {"finding": finding, "model": ", ".join(pair), "pair": " - ".join(pair),
             "score": "probability"})
