"""From a store to a table and a picture: python docs/examples/first_analysis.py study.zarr OUT"""

import sys
from pathlib import Path

import saltrust

cubes = saltrust.open_cubes(sys.argv[1])
out = Path(sys.argv[2])

test = cubes.saltrust.select(split="test", finding=["Cardiomegaly", "Edema"])
mean_map = test["saliency/heatmap"].sel(explainer="gradcam").mean("image")

regressions = saltrust.regressions(test, scoring=saltrust.Scoring(slice="all"))
print(regressions)
regressions.to_csv(out / "regressions")

few = saltrust.Resampling(resamples=200, seed=1)
print(saltrust.localization(test, resampling=few)["summary"].head())

scores = test.saltrust.scores()
best = scores[scores["explainer"] == "gradcam"].nlargest(1, "iou").iloc[0]
axes = cubes.saltrust.overlay(best["image"], best["finding"], "gradcam", model=best["model"])
axes.figure.savefig(out / "best.png", dpi=100)
scores.to_csv(out / "scores.csv", index=False)
