"""Sentences for a methods section, every number from what an analysis recorded of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Meta = Mapping[str, Any]

_SHAPES = {
    "default": "number of instances (8-connected components), area ratio (whole mask over "
               "image), and of the component with the longest outer contour, elongation (longer "
               "over shorter side of the rectangle of least area, on pixel corners) and "
               "irrectangularity (1 - filled pixels over that rectangle)",
    "peer": "number of annotated contours, area ratio (whole mask over image), and of the "
            "contour with the most points, elongation and irrectangularity by the rectangle of "
            "least area through pixel centres and the area of the polygon",
}
_SPEARMAN = {"jackknife": "jackknife over patients on Fisher's z",
             "bonett-wright": "interval of Bonett and Wright", "fisher": "Fisher's interval",
             "bootstrap": "bootstrap interval"}
_FITS = {
    "mixed": "linear mixed models with random intercepts for image, patient and finding (REML, "
             "Satterthwaite's degrees of freedom)",
    "logit": "logistic regressions of the hit (CR2 errors by patient; Firth's penalised "
             "likelihood where a descriptor separates hits from misses)",
    "fractional": "fractional logits of the mean IoU (Papke and Wooldridge 1996; CR2 errors by "
                  "patient) with marginal effects",
    "two-part": "two-part models of the IoU (a logit of whether it is above 0, a fractional logit "
                "of what is) with marginal effects",
    "ordbeta": "ordered beta regressions of the IoU (Kubinec 2022; errors by patient) with "
               "marginal effects",
    "gee": "estimating equations of the hit (independence working correlation, covariance of Mancl "
           "and DeRouen 2001, t with G - p degrees of freedom)",
    "joint": "least squares on all descriptors together",
}
_REMOVALS = {
    "deletion": "deletion of the most relevant pixels", "insertion": "their insertion",
    "morf": "imputation of the most relevant squares (ROAD)", "lerf": "of the least relevant"}
_READINGS = {"raw": "all values", "absolute": "the absolute values",
             "positive": "the positive part"}
_CORRECTIONS = {"bonferroni": "Bonferroni", "holm": "Holm", "bh": "Benjamini and Hochberg",
                "none": "no method"}


def methods_of(topic: str, meta: Meta) -> list[str]:
    """Sentences that say how the numbers of a result were had.

    Parameters
    ----------
    topic : str
        Of the result.
    meta : mapping of str to object
        Of the result.

    Returns
    -------
    list of str
        One sentence or a few each; what was recorded, name by name, where the topic has no
        prose or the metadata lack what the prose is made of.
    """
    write = _WRITERS.get(topic, listed_facts)
    try:
        return [*write(meta), *(_groups(meta) if topic in _WRITERS else ())]
    except KeyError:
        return list(listed_facts(meta))


def listed_facts(meta: Meta) -> Iterator[str]:
    """One short sentence per entry of the metadata.

    Parameters
    ----------
    meta : mapping of str to object

    Examples
    --------
    >>> list(listed_facts({"slice": "positive", "counts": {"maps": 3}, "cutoff": None}))
    ['slice: positive.', 'counts: maps 3.']
    """
    for key, value in meta.items():
        text = "; ".join(_flat(value)) if isinstance(value, Mapping) else _plain(value)
        if text:
            yield f"{key.replace('_', ' ')}: {text}."


def counts_and_exclusions(meta: Meta) -> Iterator[tuple[str, str]]:
    """What was counted and what was left out, as texts, by which of the two it is.

    Parameters
    ----------
    meta : mapping of str to object
    """
    for kind in ("counts", "exclusions"):
        text = "; ".join(_flat(meta.get(kind) or {}))
        if text:
            yield kind, text


def named_signs(phrases: Sequence[str], most: int = 3) -> str:
    """The first phrases as one text, and how many there are beside; empty where there are none.

    Parameters
    ----------
    phrases : sequence of str
        Of the metadata, key ``turned_signs``.
    most : int
        That are named.

    Examples
    --------
    >>> named_signs(["a", "b", "c"], most=2)
    'a; b; and 1 more'
    """
    beyond = len(phrases) - most
    return "; ".join([*phrases[:most], *([f"and {beyond} more"] if beyond > 0 else [])])


def _flat(values: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}, ")
        else:
            yield f"{prefix}{str(name).replace('_', ' ')} {value}"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def reading_of_maps(meta: Meta) -> Iterator[str]:
    """What of the maps was scored; nothing where a result does not say.

    Parameters
    ----------
    meta : mapping of str to object

    Examples
    --------
    >>> list(reading_of_maps({"map": "auto", "map_readings": {"ig": "positive", "cam": "raw"}}))
    ['Of maps were scored: the positive part (ig); all values (cam); as their explainers declare.']
    """
    groups: dict[str, list[str]] = {}
    for explainer, reading in meta.get("map_readings", {}).items():
        groups.setdefault(_READINGS[reading], []).append(explainer)
    if groups:
        parts = [f"{what} ({', '.join(names)})" for what, names in groups.items()]
        declared = ["as their explainers declare"] if meta.get("map") == "auto" else []
        yield f"Of maps were scored: {'; '.join([*parts, *declared])}."


def _level(meta: Meta) -> Iterator[str]:
    if meta.get("level") == "study":
        yield "The probability of an image is the largest of the views of its examination."


def _localization(meta: Meta) -> Iterator[str]:
    counts = meta["counts"]
    size = ("their native size" if meta["resolution"] == "native" else
            "the grid on which the maps are stored")
    yield (f"Localization was scored on {counts['images']} images{_of_split(meta)}"
           f", {counts['maps']} saliency maps in all, at {size} (definitions: "
           f"`{meta['definition']}`).")
    yield from reading_of_maps(meta)
    yield ("Maps were upsampled bilinearly (half-pixel centres, float32"
           + (", rounded as PyTorch rounds" if meta["definition"] == "peer" else "")
           + "), stretched to 0..1 between their own minimum and maximum, and cut; threshold: "
           f"{_lower(meta['threshold'])}"
           + (" (contours filled, single pixels dropped after Otsu)"
              if meta["definition"] == "peer" else "")
           + f". Probability cut-off: {meta['probability_cutoff']}.")
    yield from _level(meta)
    yield (f"Intersection over union (IoU) was taken with the masks of "
           f"{_readers(meta['reference_readers'])}; pairs that count (slice `{meta['slice']}`): "
           f"{meta['slice_meaning']}.")
    yield ("A map hits if its maximum, the first in row order where several pixels share it "
           f"({counts.get('tied_peaks', 0)} maps), lies in the reference mask; "
           f"{counts['flat']} flat maps and {counts['nonfinite']} with values that are not finite "
           "count as empty segmentations that miss.")
    if meta["benchmark_readers"]:
        expert = meta["expert_readers"]
        yield (f"The expert benchmark is {_readers(expert)}"
               + (", averaged image by image" if len(expert) > 1 else "") + "; an expert's hit is "
               + ("any marked point in the reference, no point being a miss"
                  if meta["definition"] == "peer" else "the first marked point in the reference")
               + f". The percentage decrease is {meta['decrease']}; it is given once more for "
               "images where the reference and every such reader drew something, since "
               "readers were told the labels.")
        if "decrease_test" in meta:
            yield f"The test beside it is {meta['decrease_test']}."
        if len(expert) == 2 and "random_readers" in meta:
            yield (f"Readers as a sample are beside it: {meta['random_readers']}; of two readers "
                   "it has few degrees of freedom.")
    else:
        yield "There was no expert benchmark."
    yield (f"{_intervals(meta, 'percentile')}, "
           "Wilson's where all were hits or all misses. Averages over findings weigh each finding "
           "alike. Hit rates stand beside three baselines: a random point (mean area ratio), the "
           "image centre, and the peak of the mean reference mask of all other patients. "
           "Differences are paired by image, their p-values by step-down max-T over the contrasts "
           "of a metric and finding (Romano and Wolf 2005); effect sizes are mean differences "
           "over the standard deviation of the differences.")
    if "equivalence_margin" in meta:
        yield (f"Maps were called equivalent, to each other or to the expert, where two one-sided "
               f"bootstrap tests put the difference within {meta['equivalence_margin']:g} "
               "(corrected likewise).")
    if "non_inferiority_margin" in meta:
        yield (f"Maps were called no worse than the expert, or than each other, where a one-sided "
               f"t test (CR2 errors by patient) puts them above minus "
               f"{meta['non_inferiority_margin']:g}, by Holm's correction.")
    if "controlled together" in meta.get("families", ""):
        yield f"Families of tests of the study: {meta['families']}."


def _groups(meta: Meta) -> Iterator[str]:
    """How groups of images were compared, where they were."""
    if "by" in meta:
        yield (f"Groups of images by {', '.join(meta['by'])} were compared by errors clustered by "
               "patient (CR2, Satterthwaite; jointly HTZ, Pustejovsky and Tipton 2018), with "
               "Holm's correction within the families that the tables name; groups of fewer than "
               "ten patients were not tested.")


def _thresholds(meta: Meta) -> Iterator[str]:
    search, cutoffs = meta["threshold_search"], meta["cutoff_search"]
    yield (f"Thresholds and probability cut-offs were tuned{_of_split(meta)} against the masks of "
           f"{_readers(meta['reference_readers'])} (definitions: `{meta['definition']}`).")
    yield from reading_of_maps(meta)
    yield (f"The threshold is the one of {_plain(search['grid'])} with the largest mean IoU "
           f"(slice `{search['slice']}`: {search['slice_meaning']}), the cut-off the one of "
           f"{_plain(cutoffs['grid'])} with the largest mean IoU of Otsu's segmentations (slice "
           f"`{cutoffs['slice']}`: {cutoffs['slice_meaning']}); of equal means the first.")
    yield from _level(meta)


def _descriptors(meta: Meta) -> Iterator[str]:
    yield (f"The shape of {meta['masks']} masks on {meta['images']} images{_of_split(meta)} was "
           f"measured at {meta['resolution']} size: {_SHAPES[meta['definition']]}; "
           f"{meta['empty_masks']} empty masks have no shape.")
    if meta.get("properties"):
        yield (f"Further properties, of the whole mask: "
               f"{', '.join(f'`{name}`' for name in meta['properties'])} (scikit-image's where "
               "they have its names).")


def _regressions(meta: Meta) -> Iterator[str]:
    family = meta["multiplicity"]
    yield ("IoU and hit were regressed on one descriptor of the reference mask at a time: "
           f"{_SHAPES[meta['definition']]}. Each descriptor was min-max normalised over the rows, "
           "so that a slope is the change from its smallest to its largest value; slopes per "
           "raw unit and per standard deviation stand beside it.")
    yield from reading_of_maps(meta)
    yield f"Rows are {meta['rows']} (slice `{meta['slice']}`)."
    if meta["expert"]:
        expert = meta["expert"]
        article = "the" if expert.startswith("mean") else "that of"
        yield f"The expert's score is {article} {expert}."
    models = [_FITS[name] for name in _FITS if name in meta["fits"]]
    errors = ["errors clustered by patient (CR2 with Satterthwaite's degrees of freedom)",
              "classical errors"]
    first, second = errors if meta["errors"] == "cr2" else errors[::-1]
    yield (f"Slopes are of ordinary least squares with {first}; beside them {second}"
           + "".join(f"; {model}" for model in models) + ".")
    if turned := named_signs(meta.get("turned_signs", ())):
        yield f"A stronger model turns the sign of slopes: {turned}."
    yield (f"P-values were corrected by {_correction(family['method'])} within families ("
           f"{family['family']}; factor {family['factor']}); intervals are not corrected.")


def _confidence(meta: Meta) -> Iterator[str]:
    yield ("Confidence: IoU and hit were related to the predicted probability by linear "
           f"regression and Spearman's correlation ({_SPEARMAN[meta['spearman_interval']]}), "
           f"per finding and pooled (slice `{meta['slice']}`: "
           f"{meta['slice_meaning']}; probability: {meta['probability']}). Pooled estimates are "
           "given with one intercept per finding and ranks within findings, and as if all "
           "rows were of one finding.")
    yield ("Errors and p-values are clustered by patient (slopes: CR2 with Satterthwaite's degrees "
           "of freedom; correlations: the jackknife)." if meta["errors"] == "cr2" else
           "Errors and p-values take rows as independent; those clustered by patient stand beside.")
    if turned := named_signs(meta["turned_signs"]):
        yield f"Pooling all findings turns the sign of estimates: {turned}."
    yield from reading_of_maps(meta)
    yield from _level(meta)
    yield ("Means are given apart for positives that the model called (probability above "
           f"{meta['operating_point']}), for those it missed, and by bin of probability.")
    yield ("Calibration of the probabilities on all labelled images stands beside it: Brier "
           "score, slope of the label on the logit, and expected error over ten bins.")
    family = meta["multiplicity"]
    yield (f"P-values were corrected by {_correction(family['method'])} over the findings (factor "
           f"{family['factor']}), the two pooled rows apart.")


def _classification(meta: Meta) -> Iterator[str]:
    unit = "images" if meta["level"] == "image" else "examinations"
    yield (f"Areas under ROC curves are of {meta['cases']} {unit} of {meta['patients']} patients"
           f"{_of_split(meta)}"
           + ("" if meta["level"] == "image" else
              ", the probability of an examination being the largest of its images") + ".")
    yield (f"Their {_percent(meta)} intervals: {meta['interval']}. Models are compared in pairs on "
           f"the same cases; p-values were corrected by {_correction(meta['adjustment'])}.")
    yield ("Calibration is judged by the Brier score, the slope of the label on the logit of the "
           "probability, and the expected error over ten bins of equal width.")


def _criterion(what: str) -> Callable[[Meta], Iterator[str]]:
    def write(meta: Meta) -> Iterator[str]:
        yield f"{what}{_of_split(meta)}."
        yield from reading_of_maps(meta)
        if "ssim" in meta:
            settings = meta["ssim"]
            yield (f"SSIM: window {settings['window']}; scaling: {settings['scaling']}; data range "
                   f"{settings['data_range']}.")
        for name in ("rule_meaning", "decision", "baseline", "average_precision", "complexity"):
            if name in meta:
                yield f"{name.replace('_', ' ').capitalize()}: {meta[name]}."
        if "low_baseline" in meta:
            yield (f"The low baseline is {meta['low_baseline']:g}; "
                   f"{meta['pairs_of_different_images']} pairs of different images stand beside.")
        yield f"Flat or non-finite maps: {meta['failures']}."
        how = ("a residual variance per explainer where each has ten rows, errors clustered by "
               "patient (CR2, Satterthwaite), single-step max-t"
               if meta.get("variance") == "level" else "equal variances")
        yield (f"Explainers were compared with their baselines by a linear mixed model ({how}; "
               f"post hoc: {meta['posthoc']}, alpha {meta['alpha']:g}), beside a bootstrap of "
               f"patients ({meta['resamples']:,} resamples, seed {meta['seed']}) and a signed-rank "
               "test by patient (Rosner, Glynn and Lee 2006), which is of symmetry about zero.")
        if "equivalence_margin" in meta:
            yield (f"Differences within {meta['equivalence_margin']:g} count as none, by two "
                   "one-sided tests with errors clustered by patient (CR2).")
        if "non_inferiority_margin" in meta:
            yield ("An explainer was called no worse than its baseline where a one-sided t test "
                   "(CR2 errors by patient, Holm) puts their difference above minus "
                   f"{meta['non_inferiority_margin']:g}.")

    return write


def _faithfulness(meta: Meta) -> Iterator[str]:
    counts = meta["counts"]
    yield (f"Faithfulness was measured on {counts['images']} images ({meta['images']})"
           f"{_of_split(meta)} of {counts['patients']} patients by "
           + "; ".join(_REMOVALS.get(name, name) for name in meta["metrics"]) + ".")
    if "removal" in meta:
        yield f"Curves as they were generated: {'; '.join(_flat(meta['removal']))}."
    yield (f"Areas are {meta['area']}, beside the {meta['baseline']}. Better: {meta['better']}. "
           f"Flat or non-finite maps ({counts['flat or non-finite maps']}): {meta['failures']}.")
    yield (f"{_intervals(meta, 'bootstrap')}. Gains over random orders were tested by step-down "
           "max-T over explainers, differences over their pairs (Romano and Wolf 2005). "
           f"Decision: {meta['decision']}.")


def _gaze(meta: Meta) -> Iterator[str]:
    yield (f"Maps (values: {meta['map']}) were compared with the gaze of `{meta['reader']}`"
           f"{_of_split(meta)}, on the grid, for {meta['compared']}; fixated are "
           f"{meta['fixated']}.")
    yield from reading_of_maps(meta)
    yield (f"Beside chance: {meta['other_images']}, a {meta['centre_prior']} at the centre, and "
           f"the average gaze ({meta['average_gaze']}). Flat or non-finite maps: "
           f"{meta['failures']}.")
    yield (f"{_intervals(meta, 'percentile')}; p-values were corrected by "
           f"{_correction(meta['adjustment'])}.")


def _mrmc(meta: Meta) -> Iterator[str]:
    readers = f"{len(meta['readers'])} readers"
    if "ratings" in meta:
        yield (f"{meta['ratings']:,} ratings of {meta['cases']:,} cases ({meta['abnormal']:,} "
               f"abnormal) by {readers} were analysed by their empirical areas under ROC curves.")
        if meta["ai"]:
            yield (f"The model `{meta['ai']}` was compared with the mean of these readers, readers "
                   "and cases random (Hillis 2007, section 5.3).")
    else:
        yield (f"The {meta['treatment']}s {', '.join(meta['treatments'])} were compared by their "
               f"mean IoU (slice `{meta['slice']}`) and hit rate against what each of {readers} "
               f"drew{_of_split(meta)}"
               + (", models also by the area under the ROC curve of the probability against "
                  "whether a reader drew anything." if meta["treatment"] == "model" else "."))
        yield from reading_of_maps(meta)
    if len(meta["treatments"]) > 1:
        yield (f"The test is {meta['test']}; covariances are of {meta['covariance']}; p-values of "
               f"pairs were corrected by {_correction(meta['adjustment'])}, intervals "
               f"({_percent(meta)}) are not.")


def _mixed(meta: Meta) -> Iterator[str]:
    yield (f"The linear mixed model `{meta['formula']}` was fitted to {meta['n']} rows by "
           f"{meta['estimation']} ({meta['engine']}); degrees of freedom: {meta['df']}.")
    groups = meta["groups"]
    if groups:
        yield ("Random effects: "
               + ", ".join(f"{count} levels of {name}" for name, count in groups.items()) + ".")
    for contrasts, method in meta["adjustments"].items():
        yield f"Contrasts, {contrasts}: {method}."
    yield f"Intervals have the level {_percent(meta)}."
    for note in meta["notes"]:
        yield f"{note[:1].upper()}{note[1:]}."


def _of_split(meta: Meta) -> str:
    split = meta.get("split")
    if not split or split in {"all", "not stated"}:
        return ""
    return f" of the split{'s' if ', ' in split else ''} {split!r}"


def _percent(meta: Meta) -> str:
    return f"{100 * meta['confidence_level']:g}%"


def _intervals(meta: Meta, kind: str) -> str:
    return (f"Intervals are {_percent(meta)} {kind} intervals of {meta['resamples']:,} bootstrap "
            f"resamples of patients (seed {meta['seed']})")


def _readers(names: list[str]) -> str:
    """Names as they stand in the cubes, told from the words around them."""
    return f"reader{'s' * (len(names) > 1)} " + ", ".join(f"`{name}`" for name in names)


def _lower(text: str) -> str:
    return text if text.startswith(("Otsu", "Yen", "Li")) else text[:1].lower() + text[1:]


def _correction(name: str) -> str:
    method, comma, rest = name.partition(",")
    return f"{_CORRECTIONS.get(method, method)}{comma}{rest}"


_WRITERS: dict[str, Callable[[Meta], Iterator[str]]] = {
    "localization": _localization,
    "thresholds": _thresholds,
    "descriptors": _descriptors,
    "regressions": _regressions,
    "confidence": _confidence,
    "classification": _classification,
    "utility": _criterion("Utility: the pixels of every map on a positive image were ranked and "
                          "set against the reference mask"),
    "randomization": _criterion("Randomization: maps of the trained model were compared by SSIM "
                                "with those of the model randomised from the top down"),
    "repeatability": _criterion("Repeatability: maps of models of one architecture, trained from "
                                "different seeds, were compared by SSIM"),
    "reproducibility": _criterion("Reproducibility: maps of models of different architectures "
                                  "were compared by SSIM"),
    "faithfulness": _faithfulness,
    "gaze": _gaze,
    "mrmc": _mrmc,
    "mixed": _mixed,
}
