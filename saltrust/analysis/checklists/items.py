"""What CLAIM 2024 and STARD-AI ask of authors, each in a few words of ours.

These are no sentences of the checklists, which have to be read where they were published.  The
numbers are those of CLAIM's update of 2024; STARD-AI's subjects stand by their section.
"""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """One subject that authors have to report.

    Attributes
    ----------
    checklist : {"CLAIM 2024", "STARD-AI"}
    item : str
        Its number, or that of our list.
    section : str
    subject : str
    facts : tuple of str
        Names of what the cubes or the plan may say of it
        (:mod:`saltrust.analysis.checklists.facts`).
    missing : str
        What authors have to add in any case.
    """

    checklist: str
    item: str
    section: str
    subject: str
    facts: tuple[str, ...] = ()
    missing: str = ""


CLAIM, STARD = "CLAIM 2024", "STARD-AI"

_CLAIM = (
    ("title", "name the kind of AI in the title or abstract", ("architectures",), ""),
    ("abstract", "design, methods, results, conclusions in short", (), ""),
    ("introduction", "clinical problem, and what the AI is meant for", (), ""),
    ("introduction", "aims and hypotheses", ("question", "hypothesis"), ""),
    ("study design", "prospective or retrospective", (), ""),
    ("study design", "purpose, such as feasibility, comparison, non-inferiority", ("claim",), ""),
    ("data", "where data come from", ("data", "images"), "hospitals, dates, ethics"),
    ("data", "who was eligible", ("exclusions",), "criteria, setting, dates"),
    ("data", "preprocessing", ("preprocessing", "grid"), ""),
    ("data", "which part of the data was taken", ("splits", "selection"), "why this part"),
    ("data", "how patients were de-identified", (), ""),
    ("data", "missing values", ("labels_missing", "maps_missing"), "how they were handled"),
    ("data", "how images were acquired", ("views",), "devices, protocols"),
    ("reference standard", "what it is", ("reference",), "how it was reached"),
    ("reference standard", "why this one", (), ""),
    ("reference standard", "who annotated", ("readers",), "qualifications, training"),
    ("reference standard", "how annotations were made", ("annotations",), "tools, instructions"),
    ("reference standard", "variability within and between readers", ("benchmark",),
     "agreement: table `agreement` of `saltrust analyze localization`"),
    ("partitions", "how data were divided", ("splits",), "by which rule"),
    ("partitions", "level at which partitions are disjoint", ("disjoint",), ""),
    ("testing data", "sample size and its reason", ("test_size", "sample_size"), ""),
    ("model", "architecture, inputs, outputs", ("architectures", "grid", "findings"), ""),
    ("model", "software, versions", ("software",), "hardware"),
    ("model", "initial weights", ("training",), ""),
    ("training", "settings", ("training",), "augmentation, stopping"),
    ("training", "how the final model was chosen", ("training",), ""),
    ("training", "ensembles", ("ensembles",), ""),
    ("evaluation", "metrics", ("primary",), ""),
    ("evaluation", "tests, uncertainty, multiplicity", ("statistics", "families"), ""),
    ("evaluation", "robustness", ("replicates",), "sensitivity analyses"),
    ("evaluation", "explanations, and how they were validated", ("explainers", "readings",
                                                                "randomization"), ""),
    ("evaluation", "internal test data", ("test_size",), ""),
    ("evaluation", "external test data", (), ""),
    ("evaluation", "registration of a trial", (), ""),
    ("results", "numbers of patients and images in and out", ("images", "left_out"),
     "a flow diagram"),
    ("results", "demographics of every partition", ("demographics",), ""),
    ("results", "performance on every partition", (), ""),
    ("results", "accuracy with intervals", (), ""),
    ("results", "failures", ("maps_failed",), "cases that were classified wrongly"),
    ("discussion", "limitations", (), ""),
    ("discussion", "implications for practice", (), ""),
    ("other", "protocol", ("plan",), "where it can be read"),
    ("other", "availability of software, models, data", ("software", "checkpoints"), "addresses"),
    ("other", "funding", (), ""),
)
_STARD = (
    ("title", "a study of the diagnostic accuracy of AI", ("architectures",), ""),
    ("introduction", "intended use of the AI, place in the clinical path", (), ""),
    ("introduction", "objectives, hypotheses", ("question", "hypothesis"), ""),
    ("design", "data before or after the index test", ("frozen",), ""),
    ("participants", "eligibility, setting, dates, sampling", ("exclusions",), ""),
    ("dataset", "source, collection, and whether it is public", ("data",), "licence, address"),
    ("dataset", "who is in it, and who is not", ("demographics", "images"), ""),
    ("dataset", "training, tuning and test parts, and leaks between them", ("splits", "disjoint"),
     ""),
    ("dataset", "preparation, quality checks", ("preprocessing", "grid", "left_out"), ""),
    ("index test", "name, version, developer", ("architectures", "checkpoints"), "developer"),
    ("index test", "input and output", ("grid", "findings"), ""),
    ("index test", "how it was trained", ("training",), ""),
    ("index test", "cut-offs, and whether they were set before", ("primary",), ""),
    ("index test", "what users see beside the output", ("explainers",), ""),
    ("reference standard", "what it is, who read, blinding", ("reference", "readers"),
     "blinding"),
    ("analysis", "how accuracy is estimated and compared", ("statistics", "families"), ""),
    ("analysis", "indeterminate and missing results", ("labels_missing", "maps_missing",
                                                       "maps_failed"), ""),
    ("analysis", "variability, planned and exploratory", ("secondary",), ""),
    ("analysis", "sample size", ("sample_size",), ""),
    ("analysis", "bias and fairness between groups", ("covariates",), "groups that matter"),
    ("results", "flow, dates, severity", ("images", "left_out"), "a diagram"),
    ("results", "findings in the test set", ("prevalence",), ""),
    ("results", "estimates with intervals, cross tabulation", (), ""),
    ("results", "adverse events, errors of the AI", ("maps_failed",), ""),
    ("discussion", "limitations, generalisability, fairness", (), ""),
    ("discussion", "implications for use", (), ""),
    ("other", "registration, protocol", ("plan",), ""),
    ("other", "access to code, model, data", ("software", "checkpoints"), "addresses"),
    ("other", "funding, interests, audit of the AI by others", (), ""),
)

ITEMS: tuple[Item, ...] = (
    *(Item(CLAIM, str(k), *rest) for k, rest in enumerate(_CLAIM, start=1)),
    *(Item(STARD, f"s{k}", *rest) for k, rest in enumerate(_STARD, start=1)))
