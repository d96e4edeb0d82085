"""Golden values of R, and small tables of scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def golden_folder(reference_folder: Path) -> Path:
    return reference_folder / "mixed_effects"


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((golden_folder / "lme4.json").read_text())
    return values


@pytest.fixture
def scores() -> pd.DataFrame:
    """Unbalanced scores of three explainers on 12 images, two rows each."""
    rng = np.random.default_rng(7)
    image = np.repeat(np.arange(12), 6)
    explainer = np.tile(["grad", "gradcam", "xrai"], 24)
    auprc = (0.3 + rng.normal(scale=0.1, size=12)[image]
             + np.where(explainer == "xrai", 0.15, 0.0) + rng.normal(scale=0.05, size=72))
    table = pd.DataFrame({"image": [f"im{i}" for i in image], "explainer": explainer,
                          "auprc": auprc, "age": 40.0 + image})
    return table[rng.random(72) < 0.8].reset_index(drop=True)
