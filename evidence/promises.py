"""What the scripts beside this one share: the command line, and the end where a promise breaks."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SALTRUST = (sys.executable, "-m", "saltrust")


def require(condition: bool, otherwise: str) -> None:
    """End the script with a sentence unless the condition holds."""
    if not condition:
        sys.exit(f"untrue: {otherwise}")


def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line; another exit status than expected is a broken promise."""
    words = [str(word) for word in arguments]
    done = subprocess.run([*SALTRUST, *words], capture_output=True, text=True, check=False)
    require(done.returncode == status,
            f"saltrust {' '.join(words)} exited {done.returncode}, not {status}: {done.stderr}")
    return done


def tables(*arguments: object) -> dict[str, Any]:
    """Tables of ``saltrust analyze``, by name."""
    content: dict[str, Any] = json.loads(
        run("analyze", *arguments, "--format", "json").stdout)["tables"]
    return content
