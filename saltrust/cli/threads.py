"""How the threads of torch wait, which must be said before torch is loaded."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spin, unless the user has decided otherwise.

    On processors shared with others, spinning threads steal the time that the working one
    needs: a training epoch was measured 15 times slower so.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
