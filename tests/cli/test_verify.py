"""``saltrust verify`` and ``saltrust migrate`` as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saltrust.testing import simulate_cubes

MAP = "saliency/heatmap/c/2/0/1/1/0/0"


def test_verify_says_what_is_wrong_and_how_to_go_on(run: Any, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    simulate_cubes(store, patients=4, images_per_patient=2, grid=16, findings=["Edema"], seed=3,
                   parts=["radiograph"])
    done = run("-q", "verify", store)
    assert (done.exit_code, "all is well" in done.stdout) == (0, True)
    done = run("migrate", store)
    assert (done.exit_code, "checksums already" in done.stderr) == (0, True)
    content = bytearray((store / MAP).read_bytes())
    content[50] ^= 4
    (store / MAP).write_bytes(content)
    done = run("-q", "verify", store, "--json")
    assert done.exit_code == 1
    assert '"image": "patient-001-frontal-0"' in done.stdout
    done = run("-q", "analyze", "localization", store)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert "patient-001-frontal-0" in done.stderr
    done = run("-q", "verify", store, "--repair")
    assert done.exit_code == 1
    assert "--resume" in done.stderr
    assert run("-q", "verify", store).exit_code == 2
