"""Who the phantom's patients are: their illness, their examinations, their labels.

Findings come together as illnesses bring them: heart failure enlarges the heart and fills
lungs and pleura, intensive care adds lines and collapsed lung.  All of it is known before a
single image is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, Label
from saltrust.datasets.phantom.anatomy import VIEWS
from saltrust.datasets.phantom.findings import UMBRELLAS
from saltrust.datasets.phantom.scene import FAINT

#: Share of the findings of an examination whose label is left open.
UNCERTAIN_SHARE = 0.05

#: Share of those that are drawn, faintly; of the others nothing is to be seen.
UNCERTAIN_DRAWN = 0.5

_LABELS = 16
_LASTING = 0.75


@dataclass(frozen=True)
class _Illness:
    """One kind of patient: how common, how often portable (AP), and what it brings."""

    share: float
    portable: float
    findings: dict[str, float]


_ILLNESSES = (
    # Healthy, or nothing that shows.
    _Illness(0.14, 0.25, {}),
    # Heart disease without congestion.
    _Illness(0.15, 0.40, {
        "Cardiomegaly": 0.75, "Pleural Effusion": 0.30, "Support Devices": 0.35,
        "Enlarged Cardiomediastinum": 0.30, "Pneumothorax": 0.05}),
    # Heart failure.
    _Illness(0.14, 0.55, {
        "Edema": 0.90, "Cardiomegaly": 0.65, "Pleural Effusion": 0.60, "Atelectasis": 0.40,
        "Support Devices": 0.40, "Consolidation": 0.28, "Enlarged Cardiomediastinum": 0.15,
        "Lung Lesion": 0.18, "Pneumothorax": 0.05}),
    # Pneumonia.
    _Illness(0.10, 0.45, {
        "Consolidation": 0.90, "Atelectasis": 0.45, "Pleural Effusion": 0.35, "Edema": 0.35,
        "Lung Lesion": 0.35, "Airspace Opacity": 0.25, "Support Devices": 0.20,
        "Cardiomegaly": 0.10, "Pneumothorax": 0.06}),
    # Malignancy.
    _Illness(0.14, 0.35, {
        "Lung Lesion": 0.93, "Atelectasis": 0.45, "Consolidation": 0.40, "Edema": 0.12,
        "Pleural Effusion": 0.30, "Enlarged Cardiomediastinum": 0.35, "Support Devices": 0.25,
        "Pneumothorax": 0.12, "Cardiomegaly": 0.08}),
    # Intensive care.
    _Illness(0.10, 0.80, {
        "Support Devices": 0.90, "Atelectasis": 0.80, "Edema": 0.50, "Consolidation": 0.50,
        "Pleural Effusion": 0.50, "Pneumothorax": 0.35, "Cardiomegaly": 0.30,
        "Enlarged Cardiomediastinum": 0.25, "Lung Lesion": 0.25}),
    # Pneumothorax and pleural disease.
    _Illness(0.23, 0.45, {
        "Pneumothorax": 0.75, "Pleural Effusion": 0.35, "Support Devices": 0.35,
        "Enlarged Cardiomediastinum": 0.12, "Atelectasis": 0.08}),
)


@dataclass(frozen=True)
class ImageRecord:
    """What is known of one image before it is rendered.

    Attributes
    ----------
    name, patient, study, view : str
    numbers : tuple of int
        Numbers of the patient, the study and the image within the study.
    labels : tuple of int
        One :class:`saltrust.cache.schema.Label` per finding of protocol S.
    drawn : mapping of str to float
        What the image shows of its own accord, with its strength: 1, or ``FAINT``.
    """

    name: str
    patient: str
    study: str
    view: str
    numbers: tuple[int, int, int]
    labels: tuple[int, ...]
    drawn: dict[str, float]


def draw_records(patients: int, seed: int) -> list[ImageRecord]:
    """Draw all images of all patients, in order; each patient has random numbers of its own."""
    digits = max(4, len(str(patients)))
    records: list[ImageRecord] = []
    for number in range(1, patients + 1):
        records += _patient(number, f"phantom-{number:0{digits}d}", seed)
    return records


def _patient(number: int, name: str, seed: int) -> list[ImageRecord]:
    rng = np.random.default_rng([seed, _LABELS, number])
    shares = np.array([illness.share for illness in _ILLNESSES])
    illness = _ILLNESSES[int(rng.choice(len(_ILLNESSES), p=shares / shares.sum()))]
    records = []
    present = _findings(illness, rng)
    for study in range(1, 1 + (2 if rng.random() < 0.15 else 1)):
        if study > 1:
            later = _findings(illness, rng)
            lasting = rng.random(len(CHEXLOCALIZE_FINDINGS)) < _LASTING
            present = {finding: present[finding] if lasts else later[finding]
                       for finding, lasts in zip(CHEXLOCALIZE_FINDINGS, lasting, strict=True)}
        labels, drawn = _labels(present, rng)
        for image in range(1, 1 + (2 if rng.random() < 0.2 else 1)):
            view = VIEWS[1] if rng.random() < illness.portable else VIEWS[0]
            records.append(ImageRecord(
                f"{name}_study{study}_view{image}_frontal", name, f"{name}_study{study}", view,
                (number, study, image), labels, drawn))
    return records


def _findings(illness: _Illness, rng: np.random.Generator) -> dict[str, bool]:
    chances = rng.random(len(CHEXLOCALIZE_FINDINGS))
    return {finding: bool(chance < illness.findings.get(finding, 0.0))
            for finding, chance in zip(CHEXLOCALIZE_FINDINGS, chances, strict=True)}


def _labels(present: dict[str, bool],
            rng: np.random.Generator) -> tuple[tuple[int, ...], dict[str, float]]:
    """Labels of the ten findings, and what is drawn; umbrellas follow what they hold."""
    n = len(CHEXLOCALIZE_FINDINGS)
    open_ = rng.random(n) < UNCERTAIN_SHARE
    seen = rng.random(n) < UNCERTAIN_DRAWN
    labels: dict[str, Label] = {}
    drawn: dict[str, float] = {}
    for finding, unsure, visible in zip(CHEXLOCALIZE_FINDINGS, open_, seen, strict=True):
        if unsure:
            labels[finding] = Label.UNCERTAIN
            if visible:
                drawn[finding] = FAINT
        else:
            labels[finding] = Label.POSITIVE if present[finding] else Label.NEGATIVE
            if present[finding]:
                drawn[finding] = 1.0
    for umbrella, parts in UMBRELLAS.items():
        held = {labels[part] for part in (umbrella, *parts)}
        for label in (Label.POSITIVE, Label.UNCERTAIN, Label.NEGATIVE):
            if label in held:
                labels[umbrella] = label
                break
    return tuple(int(labels[finding]) for finding in CHEXLOCALIZE_FINDINGS), drawn
