"""The page of other libraries: ``python -m subjects.scoreboard FOLDER`` joins the results of their audits.

FOLDER holds ``LIBRARY/results.json`` for each folder in ``subjects/`` that was audited, in an environment of its own.
The page has no sums and no ranking. A row is a library, its version and a method; what was not audited is not there.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

from conformance.reporting.view import SECTIONS

HERE = Path(__file__).parent
HEAD = """# Other libraries

One row per method of a library, audited in an environment of its own (`subjects/`). A cell is the state of a section of
the card, as in [the index](../index.md); *stricter* and *float64 only* are explained in
[Reading a card](../../docs/reading-a-card.md). The order is that of the alphabet.
"""
TAIL = """
## What can be reproduced without this project

Each script needs the library alone, and fails when the difference is gone.

"""


def page(folder: Path) -> str:
    """The page as Markdown. ValueError if no results are there."""
    rows, sections = [], [name for name, _ in SECTIONS]
    for file in sorted(folder.glob("*/results.json")):
        library = file.parent.name
        for name, result in sorted(json.loads(file.read_text(encoding="utf-8"))["variants"].items()):
            rows.append(_row(library, name, result))
    if not rows:
        raise ValueError(
            f"{folder}: got no LIBRARY/results.json, want those of `conformance audit --out {folder}/LIBRARY`"
        )
    head = f"| library and method | {' | '.join(sections)} | verdict | why |\n|{'---|' * (len(sections) + 3)}\n"
    return HEAD + "\n" + head + "".join(rows) + TAIL + "".join(_scripts())


def _row(library: str, name: str, result: dict[str, Any]) -> str:
    version = (HERE / library / "requirements.txt").read_text(encoding="utf-8").split()[0]
    method = name.removeprefix(f"{library}_")
    cells = " | ".join(result["sections"][section] for section, _ in SECTIONS)
    return f"| {version}: {method} | {cells} | **{result['verdict']}** | {result['reason']} |\n"


def _scripts() -> list[str]:
    lines = []
    for file in sorted((HERE / "reproducers").glob("*.py")):
        told = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
        lines.append(f"- `subjects/reproducers/{file.name}`: {told}\n")
    return lines


def main(arguments: list[str]) -> int:
    """Write ``reports/subjects/index.md``."""
    target = HERE.parent / "reports" / "subjects" / "index.md"
    text = page(Path(arguments[0]))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
