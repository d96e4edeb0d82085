"""Pass, did not pass or uncertain: every explainer against its baselines, in three ways.

The decision is that of a mixed model on the scores per image (protocol A), with a residual
variance per level and errors clustered by patient, or with equal variances as in the paper.  A
paired bootstrap of patients and a signed-rank test by patient with Holm's correction over the
same family stand beside it, and decisions that change with the method are flagged.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.max_t import resamples_for
from saltrust.analysis.inference.multiplicity import adjust
from saltrust.analysis.inference.paired_differences import (
    bootstrap,
    effect_size,
    equivalence,
    non_inferiority,
    signed_rank,
)
from saltrust.analysis.mixed.model import fit_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.options import Decision, Margins
from saltrust.analysis.result import records
from saltrust.analysis.trustworthiness.contrasts import enough_rows, robust_contrasts
from saltrust.errors import DataError, UsageError

PASS, FAIL, UNCERTAIN, UNKNOWN = "pass", "did not pass", "uncertain", "not decided"
METHODS = ("mixed model", "paired bootstrap", "Wilcoxon")

#: Columns after the uniform ones of :func:`decide`'s headline.
DECISION_COLUMNS = ("decision", "bootstrap_decision", "wilcoxon_decision", "changes",
                    "effect_size", "effect_low", "effect_high", "tost_p", "equivalent")

#: Columns behind these where a margin of non-inferiority is given: lower bound, p, and p by
#: Holm's correction within the family.
NON_INFERIORITY = ("noninferiority_low", "noninferiority_p", "noninferiority_adjusted",
                   "noninferior")

#: A level and its baseline.
Pair = tuple[str, str]
#: Rows of decisions, and rows of every method, three for each decision.
Decided = tuple[list[dict[str, Any]], list[dict[str, Any]]]
#: Estimate, adjusted p-value and alpha to a decision.
Judge = Callable[[float, float, float], str]
#: What is made of differences per image: bootstrap, signed-rank test, effect size, equivalence and
#: non-inferiority.
_PAIRED = ("bootstrap", "wilcoxon", "effect", "tost", "worse")
_NAN = float("nan")
_log = logging.getLogger(__name__)


def verdict(estimate: float, p_value: float, alpha: float) -> str:
    """The paper's rule for one comparison of scores of which high ones are good.

    Examples
    --------
    >>> verdict(0.1, 0.001, 0.05), verdict(-0.1, 0.001, 0.05), verdict(0.1, 0.2, 0.05)
    ('pass', 'did not pass', 'uncertain')
    """
    if np.isnan(estimate) or np.isnan(p_value):
        return UNKNOWN
    if p_value >= alpha:
        return UNCERTAIN
    return PASS if estimate > 0 else FAIL


def decide(scores: pd.DataFrame, contrasts: Sequence[Pair], *,
           identify: Mapping[str, str], options: Decision, random: str = "",
           constants: Mapping[str, float] | None = None, judge: Judge | None = None
           ) -> Decided:
    """Compare levels with baselines, or with constants, on the images they share.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image, patient, level, value``, and the column ``random`` names; missing values are
        left out.
    contrasts : sequence of (str, str)
        Level and baseline; a baseline that is no level must be among the constants.
    identify : mapping of str to str
        What the rows are about; put before the other columns.
    options : Decision
    random : str
        A further random factor, such as the model's seed (:func:`_formula`).
    constants : mapping of str to float, optional
        Baselines that are numbers: the marginal mean is tested against them, they are no level.
    judge : callable, optional
        Estimate, adjusted p-value and alpha to decision; :func:`verdict` when left out.

    Returns
    -------
    decisions : list of dict
        One row per contrast: the identifying columns, ``explainer``, ``baseline``, the uniform
        ones of the mixed model, :data:`DECISION_COLUMNS`; :data:`NON_INFERIORITY` where its
        margin is given.
    methods : list of dict
        One row per contrast and method, with ``method`` and ``decision``.
    """
    constants, judge = constants or {}, judge or verdict
    complete = scores[scores["value"].notna()]
    wide = _wide(complete)
    mixed = mixed_contrasts(complete, contrasts, options, random, constants)
    per_level = options.variance == "level" and enough_rows(complete)
    families = _paired_families(contrasts, options, constants, per_level=per_level,
                                levels=int(complete["level"].nunique()))
    most = max((size for _, size in families), default=0)
    # Each test of the bootstrap gets the resamples that its family asks for.
    drawn = resamples_for(most, options.resamples)
    paired = [_paired(wide, level, baseline, options, constants.get(baseline), drawn)
              for level, baseline in contrasts]
    if 2 * most / (drawn + 1) >= options.alpha:
        _log.warning("%d resamples cannot give a p-value small enough for %d contrasts at alpha "
                     "%g; say --resamples %d or more", drawn, most, options.alpha,
                     int(2 * most / options.alpha) + 1)
    holm = {key: _holm(contrasts, [pair[key].p_value for pair in paired], families)
            for key in ("bootstrap", "wilcoxon", "worse")}
    conditional = _conditional(complete, random)
    decisions, methods = [], []
    for i, (level, baseline) in enumerate(contrasts):
        named = {**identify, "explainer": level, "baseline": baseline}
        size = next(size for members, size in families if (level, baseline) in members)
        family = f"explainers x baselines ({size} {'test' if size == 1 else 'tests'})"
        rows: list[dict[str, Any]] = [{**named, **mixed[i], "method": METHODS[0]}]
        for method, key in zip(METHODS[1:], ("bootstrap", "wilcoxon"), strict=True):
            row = paired[i][key].row(f"{level} - {baseline}")
            if (key == "bootstrap" and row["p_value"] <= 2 / (drawn + 1)
                    and holm[key][i] >= options.alpha):
                row["note"] = (f"p is as small as {drawn:,} resamples can show; say "
                               "--resamples for more")
            rows.append({**named, **row, "p_adjusted": holm[key][i], "adjustment": "holm",
                         "family": family, "method": method,
                         "note": "; ".join(filter(None, (row["note"], conditional)))})
        for row in rows:
            row["decision"] = judge(row["estimate"], row["p_adjusted"], options.alpha)
        methods += rows
        verdicts = [row["decision"] for row in rows]
        effect = paired[i]["effect"]
        tost = paired[i]["tost"].p_value
        headline = rows[0]
        if verdicts[0] == UNKNOWN and rows[0]["n"]:
            # Without a fit, such as where all differences are zero, the bootstrap decides.
            why = f"no mixed model: {rows[0]['note']}"
            headline = {**rows[1], "note": (f"by paired bootstrap, {why}"
                                            if verdicts[1] != UNKNOWN else
                                            f"{why}; {rows[1]['note']}")}
        decisions.append({
            **headline, "bootstrap_decision": verdicts[1], "wilcoxon_decision": verdicts[2],
            "changes": _changes(verdicts),
            "effect_size": effect.estimate, "effect_low": effect.conf_low,
            "effect_high": effect.conf_high, "tost_p": tost,
            "equivalent": _yes(tost, options.alpha)})
        if Margins.of(options.margin).non_inferiority is not None:
            worse = paired[i]["worse"]
            decisions[-1] |= dict(zip(NON_INFERIORITY, (
                worse.conf_low, worse.p_value, holm["worse"][i],
                _yes(holm["worse"][i], options.alpha)), strict=True))
    return decisions, methods


def _yes(p_value: float, alpha: float) -> str:
    """Whether what was to be shown is shown; empty without a test."""
    return "" if np.isnan(p_value) else "yes" if p_value < alpha else "no"


def adjust_together(decided: Sequence[Decided], what: str, options: Decision
                    ) -> Decided:
    """Take contrasts that were fitted apart as one family, by Holm's correction.

    Parameters
    ----------
    decided : sequence of (decisions, methods)
        As :func:`decide` gives, one contrast each.
    what : str
        Name of the family.
    options : Decision

    Returns
    -------
    decisions, methods : list of dict
    """
    decisions = [dict(row) for rows, _ in decided for row in rows]
    methods = [dict(row) for _, rows in decided for row in rows]
    family = f"{what} ({len(decisions)} tests)"
    for rows in (decisions, *([row for row in methods if row["method"] == m] for m in METHODS)):
        p_values = adjust([row["p_value"] for row in rows], "holm", size=len(decisions))
        for row, p in zip(rows, p_values.tolist(), strict=True):
            row |= {"p_adjusted": p, "adjustment": "holm", "family": family,
                    "decision": verdict(row["estimate"], p, options.alpha)}
    if decisions and "noninferior" in decisions[0]:
        p_values = adjust([row["noninferiority_p"] for row in decisions], "holm",
                          size=len(decisions))
        for row, p in zip(decisions, p_values.tolist(), strict=True):
            row |= {"noninferiority_adjusted": p, "noninferior": _yes(p, options.alpha)}
    for i, row in enumerate(decisions):
        verdicts = [methods[3 * i + k]["decision"] for k in range(3)]
        row |= {"bootstrap_decision": verdicts[1], "wilcoxon_decision": verdicts[2],
                "changes": _changes(verdicts)}
    return decisions, methods


def _changes(verdicts: Sequence[str]) -> bool:
    return len(set(verdicts) - {UNKNOWN}) > 1


def decision_tables(decisions: Sequence[Mapping[str, Any]], methods: Sequence[Mapping[str, Any]],
                    identify: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Rows of several calls of :func:`decide` as tables.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``decisions``, whose last column ``p_study`` is Holm's correction over all its rows, and
        ``methods``.
    """
    names = [*identify, "explainer", "baseline"]
    kinds = {"decision": "object", "bootstrap_decision": "object", "wilcoxon_decision": "object",
             "changes": "bool", "equivalent": "object"}
    shown = list(DECISION_COLUMNS)
    if any("noninferior" in row for row in decisions):
        kinds["noninferior"] = "object"
        shown += NON_INFERIORITY
    text = [{name: row[name] for name in kinds} for row in decisions]
    numbers = [name for name in shown if name not in kinds]
    table = estimates_table([{**row, **dict.fromkeys(kinds, _NAN)} for row in decisions], names,
                            [*shown, "p_study"])
    for name, kind in kinds.items():
        table[name] = pd.Series([row[name] for row in text], dtype=kind, index=table.index)
    table["p_study"] = adjust(table["p_value"], "holm")
    table[numbers] = table[numbers].astype("float64")
    both = estimates_table(methods, [*names, "method"], [])
    both["decision"] = pd.Series([row["decision"] for row in methods], dtype="object",
                                 index=both.index)
    return {"decisions": table, "methods": both}


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean value of every image (rows, with its patient) and level (columns)."""
    return scores.pivot_table(index=["patient", "image"], columns="level", values="value",
                              aggfunc="mean", sort=False)


def mixed_contrasts(scores: pd.DataFrame, contrasts: Sequence[Pair], options: Decision,
                    random: str, constants: Mapping[str, float]) -> list[dict[str, Any]]:
    """Uniform columns of the mixed model for every contrast; a note where it cannot be had.

    Parameters
    ----------
    scores, contrasts, options, random, constants
        As :func:`decide` has them; values are complete.
    """
    formula = _formula(scores, random)
    rows: dict[Pair, dict[str, Any]] = {}
    per_level = options.variance == "level" and enough_rows(scores)
    few = ("" if per_level or options.variance == "equal"
           else "a level has fewer than 10 rows: equal variances")
    for wanted in (_asked(contrasts, options) if per_level
                   else _families(contrasts, options, constants)):
        try:
            made = (robust_contrasts(scores, wanted, formula, alpha=options.alpha,
                                     seed=options.seed, constants=constants) if per_level
                    else _contrast_rows(scores, wanted, formula, options, constants))
            rows.update({pair: {**row, "note": "; ".join(filter(None, (row["note"], few)))}
                         for pair, row in made.items()})
        except (DataError, UsageError) as error:
            note = str(error).splitlines()[0]
            rows.update({pair: Estimate(n=len(scores), note=note).row(" - ".join(pair))
                         for pair in wanted})
    return [rows[pair] for pair in contrasts]


def _formula(scores: pd.DataFrame, random: str) -> str:
    """Random intercepts that the comparison of levels has to stand against.

    Where images were scored under several models (``random``), levels are tested against what
    they vary by between models and between images, as in the mixed analysis of variance with one
    fixed and two random crossed factors: what an explainer does in one model it may not do in
    the next, and what every model shares, such as the average mask, is no new observation.
    """
    formula = "value ~ level + (1|image)"
    if scores["patient"].nunique() < scores["image"].nunique():
        formula += " + (1|patient)"
    if not random or len(set(scores[random])) < 2:
        return formula
    formula += f" + (1|{random})"
    if len(scores.drop_duplicates(["image", "level"])) < len(scores):
        formula += " + (1|image:level)"
    # A factor within the levels, such as pairs of one criterion, has no interaction with them.
    if len(scores.drop_duplicates([random, "level"])) > len(set(scores[random])):
        formula += f" + (1|{random}:level)"
    return formula


def _families(contrasts: Sequence[Pair], options: Decision,
              constants: Mapping[str, float]) -> list[list[Pair]]:
    """Contrasts that one fit gives: all pairs of levels, or those with one baseline."""
    levels = [pair for pair in contrasts if pair[1] not in constants]
    families = [levels] if options.posthoc == "tukey" and levels else [
        [pair for pair in levels if pair[1] == baseline]
        for baseline in dict.fromkeys(b for _, b in levels)]
    return families + [[pair for pair in contrasts if pair[1] == name]
                       for name in constants if any(b == name for _, b in contrasts)]


def _asked(contrasts: Sequence[Pair], options: Decision) -> list[list[Pair]]:
    """Contrasts that are asked for, together or by baseline."""
    if options.posthoc == "tukey":
        return [list(contrasts)]
    return [[pair for pair in contrasts if pair[1] == baseline]
            for baseline in dict.fromkeys(b for _, b in contrasts)]


def _paired_families(contrasts: Sequence[Pair], options: Decision,
                     constants: Mapping[str, float], *, per_level: bool, levels: int,
                     ) -> list[tuple[list[Pair], int]]:
    """The families of the mixed model with their planned sizes, for the methods beside it."""
    if per_level:
        return [(family, len(family)) for family in _asked(contrasts, options)]
    of_levels = math.comb(levels, 2) if options.posthoc == "tukey" else levels - 1
    return [(family, len(family) if family[0][1] in constants else max(of_levels, len(family)))
            for family in _families(contrasts, options, constants)]


def _holm(contrasts: Sequence[Pair], p_values: Sequence[float],
          families: Sequence[tuple[list[Pair], int]]) -> list[float]:
    """Holm's correction within every family, at its planned size."""
    adjusted: dict[Pair, float] = {}
    for members, size in families:
        chosen = [p for pair, p in zip(contrasts, p_values, strict=True) if pair in members]
        made = adjust(chosen, "holm", size=max(size, len(chosen))).tolist()
        adjusted.update(zip([pair for pair in contrasts if pair in members], made, strict=True))
    return [adjusted[pair] for pair in contrasts]


def _conditional(scores: pd.DataFrame, random: str) -> str:
    """What holds for the models at hand alone, where several are averaged."""
    several = random and len(set(scores[random])) > 1
    return (f"conditional on these {random}s, which are averaged; the mixed model's is for others "
            "too") if several else ""


def _contrast_rows(scores: pd.DataFrame, wanted: Sequence[Pair], formula: str,
                   options: Decision, constants: Mapping[str, float]
                   ) -> dict[Pair, dict[str, Any]]:
    baseline = wanted[0][1]
    compared = (
        Contrasts(against_value=constants[baseline], seed=options.seed) if baseline in constants
        else Contrasts(posthoc="tukey", seed=options.seed) if options.posthoc == "tukey"
        else Contrasts(control=baseline, seed=options.seed))
    # What it warns of stands in the notes of the rows.
    fitted, _ = fit_model(scores, formula, over="level", contrasts=compared,
                          fitting=Fitting(engine="builtin"), confidence_level=1 - options.alpha,
                          where="the scores")
    notes = "; ".join(fitted.meta["notes"])
    if baseline in constants:
        return _against_value(fitted.tables["means"], wanted, constants[baseline], notes)
    rows: dict[Pair, dict[str, Any]] = {}
    for record in records(fitted.tables["contrasts"]):
        row = {name: _NAN if value is None else value for name, value in record.items()}
        a, b = str(row.pop("level_a")), str(row.pop("level_b"))
        row |= {"note": row["note"] or notes}
        del row["contrast"]
        rows[a, b] = {**row, "term": f"{a} - {b}"}
        # A pair is estimated in one direction only.
        rows[b, a] = {**row, "term": f"{b} - {a}", "estimate": -row["estimate"],
                       "statistic": -row["statistic"], "conf_low": -row["conf_high"],
                       "conf_high": -row["conf_low"]}
    return {pair: rows.get(pair) or Estimate(
        n=0, note="no scores of one of the two").row(" - ".join(pair)) for pair in wanted}


def _against_value(means: pd.DataFrame, wanted: Sequence[Pair], value: float, notes: str
                   ) -> dict[Pair, dict[str, Any]]:
    """Marginal means minus a constant, which has no error and is no level of the factor."""
    by_level = {str(row["level"]): row for row in records(means)}
    known = [pair for pair in wanted if by_level.get(pair[0], {}).get("p_value") is not None]
    p_values = adjust([by_level[a]["p_value"] for a, _ in known], "holm", size=len(wanted))
    rows = {pair: Estimate(note="no scores of this level").row(" - ".join(pair))
            for pair in wanted}
    for (a, b), p in zip(known, p_values.tolist(), strict=True):
        row = by_level[a]
        rows[a, b] = {
            **{name: row[name] for name in ("std_error", "statistic", "df", "p_value", "n")},
            "term": f"{a} - {b}", "estimate": row["estimate"] - value,
            "conf_low": row["conf_low"] - value, "conf_high": row["conf_high"] - value,
            "p_adjusted": p, "adjustment": "holm", "note": notes,
            "family": f"marginal means against {value:g} ({len(wanted)} tests)"}
    return rows


def _paired(wide: pd.DataFrame, level: str, baseline: str, options: Decision,
            constant: float | None, resamples: int) -> dict[str, Estimate]:
    """By :data:`_PAIRED`, of the differences per image."""
    margins = Margins.of(options.margin)
    nothing = Estimate(note="no scores of one of the two")
    if level not in wide or (constant is None and baseline not in wide):
        return dict.fromkeys(_PAIRED, nothing)
    difference = (wide[level] - (wide[baseline] if constant is None else constant)).dropna()
    n = len(difference)
    if n < 2:
        few = replace(nothing, n=n, note="fewer than 2 images have both")
        return dict.fromkeys(_PAIRED, few)
    patients = difference.index.get_level_values("patient").to_numpy()
    values = difference.to_numpy(dtype=np.float64)
    drawing: dict[str, Any] = {"resamples": options.resamples, "seed": options.seed,
                               "confidence_level": 1 - options.alpha}
    return {"bootstrap": bootstrap(values, patients, **{**drawing, "resamples": resamples}),
            "wilcoxon": signed_rank(values, patients),
            "effect": effect_size(values, patients, **drawing),
            "tost": (Estimate(n=n) if margins.equivalence is None
                     else equivalence(values, patients, margins.equivalence)),
            "worse": (Estimate(n=n) if margins.non_inferiority is None
                      else non_inferiority(values, patients, margins.non_inferiority,
                                           confidence_level=1 - options.alpha))}
