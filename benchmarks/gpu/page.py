"""Put the figures of a GPU into docs/performance.md.

    python benchmarks/gpu/page.py build/gpu/figures.json [--page docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from measure import as_markdown

BEGIN, END = "<!-- figures of a GPU: begin -->\n", "<!-- figures of a GPU: end -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    arguments = parser.parse_args()
    content = json.loads(arguments.figures.read_text())
    if content["card"].startswith("none"):
        raise SystemExit(f"{arguments.figures} is of a rehearsal on the CPU, which is no figure of "
                         "a GPU; take that of `make gpu`")
    before, mark, rest = arguments.page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{arguments.page} has no place for figures of a GPU, between the lines "
                         f"{BEGIN.strip()} and {END.strip()}")
    arguments.page.write_text(before + BEGIN + as_markdown(content) + END + after)


if __name__ == "__main__":
    main()
