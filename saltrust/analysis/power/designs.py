"""Designs of a study, and grids of them: patients, images, readers, models, effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

from saltrust.analysis.inference.estimate import check_number
from saltrust.analysis.inference.resampling import check_whole
from saltrust.errors import UsageError
from saltrust.reading import shown

#: Of one study; each is drawn a thousand times.
MOST_PATIENTS, MOST_IMAGES, MOST_READERS, MOST_MODELS = 100_000, 1_000, 200, 50
#: Each takes as many data sets as there are replicates.
MOST_DESIGNS = 2_000


@dataclass(frozen=True)
class Design:
    """One study.

    Attributes
    ----------
    patients : int
    images : str
        Of a patient: ``"3"``, or ``"1-5"`` where every number of these is as likely.
    readers, models : int
        Models of each compared arm: trainings from different seeds.
    effect : float
        True difference (slope, difference of areas) that is tested.
    """

    patients: int
    images: str = "1"
    readers: int = 1
    models: int = 1
    effect: float = 0.0

    def images_between(self) -> tuple[int, int]:
        """Fewest and most images of a patient."""
        low, _, high = self.images.partition("-")
        return int(low), int(high or low)

    def columns(self) -> dict[str, Any]:
        """What identifies the design in a table."""
        return asdict(self)


@dataclass(frozen=True)
class Designs:
    """A grid of designs: every combination.

    Attributes
    ----------
    patients : sequence of int
    images : sequence of int or str
        Of a patient: a number, or ``"LOW-HIGH"``.
    readers, models : sequence of int
        Empty: not a question of this comparison.
    effects : sequence of float
        Empty: 0, or of a pilot what it has.
    """

    patients: Sequence[int] = (20, 40, 60, 80, 100)
    images: Sequence[int | str] = ()
    readers: Sequence[int] = ()
    models: Sequence[int] = ()
    effects: Sequence[float] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            values = getattr(self, item.name)
            if isinstance(values, str | bytes) or not isinstance(values, Sequence):
                raise UsageError(f"{item.name} = {shown(values)} must be a sequence, such as "
                                 f"({shown(values)},)")
        if not self.patients:
            raise UsageError("a design needs a number of patients, such as 40")
        for count in self.patients:
            check_whole(count, "patients", 2, MOST_PATIENTS)
        for count in self.readers:
            check_whole(count, "readers", 1, MOST_READERS)
        for count in self.models:
            check_whole(count, "models", 1, MOST_MODELS)
        for effect in self.effects:
            check_number(effect, "effect")
        object.__setattr__(self, "images", tuple(map(images_text, self.images)))
        count = 1
        for item in fields(self):
            count *= max(len(set(getattr(self, item.name))), 1)
        if count > MOST_DESIGNS:
            raise UsageError(f"{count:,} designs are more than {MOST_DESIGNS:,}; name fewer "
                             "values of patients, images, readers, models or effect")

    def combinations(self, effects: Sequence[float]) -> Iterator[tuple[str, int, int, float]]:
        """Images, readers, models and effect of every combination, without the patients.

        Parameters
        ----------
        effects : sequence of float
            Where none was named.
        """
        yield from product(dict.fromkeys(map(str, self.images or ("1",))),
                           dict.fromkeys(self.readers or (1,)), dict.fromkeys(self.models or (1,)),
                           dict.fromkeys(map(float, self.effects or effects)))


def images_text(images: int | str) -> str:
    """Images of a patient in the form of :class:`Design`.

    Raises
    ------
    UsageError
        If it is neither a number nor two with a dash between, the smaller first.

    Examples
    --------
    >>> images_text(3), images_text("1-5"), images_text("2-2")
    ('3', '1-5', '2')
    """
    low, dash, high = str(images).strip().partition("-")
    wrong = UsageError(f"images = {shown(images)} must be a number of images of a patient, such as "
                       "3, or the fewest and the most, such as 1-5")
    if isinstance(images, bool | float) or not all(
            part.isascii() and part.isdigit() and len(part) < 9
            for part in ([low, high] if dash else [low])):
        raise wrong
    least, most = int(low), int(high or low)
    if not 1 <= least <= most <= MOST_IMAGES:
        raise wrong
    return str(least) if least == most else f"{least}-{most}"
