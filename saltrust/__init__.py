"""saltrust: do the saliency maps of a radiograph classifier deserve trust?

::

    cubes = saltrust.open_cubes("study.zarr")            # an xarray.DataTree
    test = saltrust.select(cubes, split="test")
    saltrust.localization(test)["summary"]               # a pandas.DataFrame
    cubes.saltrust.overlay("image", "Edema", "gradcam")

Every analysis is ``analysis(cubes, *, options...) -> Result``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saltrust.analysis.checklists.checklist import reporting_checklist as reporting_checklist
    from saltrust.analysis.classification.analysis import classification as classification
    from saltrust.analysis.confidence.analysis import confidence as confidence
    from saltrust.analysis.confidence.analysis import (
        confidence_from_scores as confidence_from_scores,
    )
    from saltrust.analysis.froc.analysis import froc as froc
    from saltrust.analysis.froc.options import Marking as Marking
    from saltrust.analysis.gaze.analysis import gaze as gaze
    from saltrust.analysis.gaze.temporal import temporal_gaze as temporal_gaze
    from saltrust.analysis.localization.analysis import localization as localization
    from saltrust.analysis.localization.thresholds import tune_thresholds as tune_thresholds
    from saltrust.analysis.mixed.model import mixed_model as mixed_model
    from saltrust.analysis.mixed.options import Contrasts as Contrasts
    from saltrust.analysis.mixed.options import Fitting as Fitting
    from saltrust.analysis.mixed.options import Inspection as Inspection
    from saltrust.analysis.multireader.analysis import mrmc as mrmc
    from saltrust.analysis.multireader.analysis import mrmc_from_ratings as mrmc_from_ratings
    from saltrust.analysis.multireader.ratings import RatingColumns as RatingColumns
    from saltrust.analysis.options import Decision as Decision
    from saltrust.analysis.options import Execution as Execution
    from saltrust.analysis.options import GazeComparison as GazeComparison
    from saltrust.analysis.options import Margins as Margins
    from saltrust.analysis.options import Resampling as Resampling
    from saltrust.analysis.options import Scoring as Scoring
    from saltrust.analysis.options import Testing as Testing
    from saltrust.analysis.planning.checking import check_plan as check_plan
    from saltrust.analysis.planning.freezing import freeze_plan as freeze_plan
    from saltrust.analysis.planning.template import init_plan as init_plan
    from saltrust.analysis.power.analysis import power as power
    from saltrust.analysis.power.designs import Designs as Designs
    from saltrust.analysis.power.options import Pilot as Pilot
    from saltrust.analysis.power.options import PowerTest as PowerTest
    from saltrust.analysis.power.options import Simulation as Simulation
    from saltrust.analysis.power.options import Stated as Stated
    from saltrust.analysis.protocols.guided_training.protocol import (
        protocol_guided_training as protocol_guided_training,
    )
    from saltrust.analysis.protocols.localization.protocol import (
        protocol_localization as protocol_localization,
    )
    from saltrust.analysis.protocols.trustworthiness.protocol import (
        protocol_trustworthiness as protocol_trustworthiness,
    )
    from saltrust.analysis.result import Result as Result
    from saltrust.analysis.select import select as select
    from saltrust.analysis.shape.descriptors import descriptors as descriptors
    from saltrust.analysis.shape.regressions import regressions as regressions
    from saltrust.analysis.shape.regressions import (
        regressions_from_scores as regressions_from_scores,
    )
    from saltrust.analysis.trustworthiness.faithfulness.analysis import faithfulness as faithfulness
    from saltrust.analysis.trustworthiness.faithfulness.perturbation import (
        perturbation as perturbation,
    )
    from saltrust.analysis.trustworthiness.randomization import randomization as randomization
    from saltrust.analysis.trustworthiness.repeatability import repeatability as repeatability
    from saltrust.analysis.trustworthiness.repeatability import reproducibility as reproducibility
    from saltrust.analysis.trustworthiness.specificity import specificity as specificity
    from saltrust.analysis.trustworthiness.utility import utility as utility
    from saltrust.cache.store import open_cubes as open_cubes
    from saltrust.report.catalog.registry import figure as figure
    from saltrust.testing import simulate_cubes as simulate_cubes

__version__ = "0.2.0"

#: Where each name of the face is defined; `import saltrust` imports none of them.
_EXPORTS = {
    "open_cubes": "saltrust.cache.store",
    "select": "saltrust.analysis.select",
    "descriptors": "saltrust.analysis.shape.descriptors",
    "localization": "saltrust.analysis.localization.analysis",
    "regressions": "saltrust.analysis.shape.regressions",
    "regressions_from_scores": "saltrust.analysis.shape.regressions",
    "confidence": "saltrust.analysis.confidence.analysis",
    "confidence_from_scores": "saltrust.analysis.confidence.analysis",
    "tune_thresholds": "saltrust.analysis.localization.thresholds",
    "classification": "saltrust.analysis.classification.analysis",
    "utility": "saltrust.analysis.trustworthiness.utility",
    "randomization": "saltrust.analysis.trustworthiness.randomization",
    "repeatability": "saltrust.analysis.trustworthiness.repeatability",
    "reproducibility": "saltrust.analysis.trustworthiness.repeatability",
    "faithfulness": "saltrust.analysis.trustworthiness.faithfulness.analysis",
    "perturbation": "saltrust.analysis.trustworthiness.faithfulness.perturbation",
    "froc": "saltrust.analysis.froc.analysis",
    "specificity": "saltrust.analysis.trustworthiness.specificity",
    "gaze": "saltrust.analysis.gaze.analysis",
    "temporal_gaze": "saltrust.analysis.gaze.temporal",
    "mixed_model": "saltrust.analysis.mixed.model",
    "mrmc": "saltrust.analysis.multireader.analysis",
    "mrmc_from_ratings": "saltrust.analysis.multireader.analysis",
    "power": "saltrust.analysis.power.analysis",
    "init_plan": "saltrust.analysis.planning.template",
    "freeze_plan": "saltrust.analysis.planning.freezing",
    "check_plan": "saltrust.analysis.planning.checking",
    "reporting_checklist": "saltrust.analysis.checklists.checklist",
    "protocol_localization": "saltrust.analysis.protocols.localization.protocol",
    "protocol_trustworthiness": "saltrust.analysis.protocols.trustworthiness.protocol",
    "protocol_guided_training": "saltrust.analysis.protocols.guided_training.protocol",
    "figure": "saltrust.report.catalog.registry",
    "simulate_cubes": "saltrust.testing",
    "Result": "saltrust.analysis.result",
    "Scoring": "saltrust.analysis.options",
    "Execution": "saltrust.analysis.options",
    "Resampling": "saltrust.analysis.options",
    "Testing": "saltrust.analysis.options",
    "Decision": "saltrust.analysis.options",
    "Margins": "saltrust.analysis.options",
    "GazeComparison": "saltrust.analysis.options",
    "Marking": "saltrust.analysis.froc.options",
    "RatingColumns": "saltrust.analysis.multireader.ratings",
    "PowerTest": "saltrust.analysis.power.options",
    "Stated": "saltrust.analysis.power.options",
    "Pilot": "saltrust.analysis.power.options",
    "Designs": "saltrust.analysis.power.designs",
    "Simulation": "saltrust.analysis.power.options",
    "Contrasts": "saltrust.analysis.mixed.options",
    "Fitting": "saltrust.analysis.mixed.options",
    "Inspection": "saltrust.analysis.mixed.options",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        # Found directly from now on.
        globals()[name] = value
        return value
    raise AttributeError(f"module 'saltrust' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
