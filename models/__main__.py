"""``python -m models``: run every variant on every model, write ``reports/models.md``, fail if a step fails.

Of a part (``--model``, ``--variant``), the new cells take the place of the old ones, and the page is written anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from models.table import NAMES, Cells, render, run
from models.two import quiet
from models.zoo import KINDS

PAGE = Path(__file__).parents[1] / "reports" / "models.md"
CELLS = PAGE.with_suffix(".json")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 1 if a step fails, 2 for a name that is not known."""
    parser = argparse.ArgumentParser(prog="models", description=__doc__)
    parser.add_argument("--model", action="append", choices=[kind.name for kind in KINDS], help="only this one; again")
    parser.add_argument("--variant", action="append", choices=NAMES, help="only this one; may be given again")
    parser.add_argument("--cells", type=Path, default=CELLS, help="the cells of all runs (%(default)s)")
    parser.add_argument("--out", type=Path, default=PAGE, help="where to write the page (%(default)s)")
    asked = parser.parse_args(arguments)
    quiet()
    kinds = [kind for kind in KINDS if not asked.model or kind.name in asked.model]
    known = read(asked.cells) if asked.model or asked.variant else {}

    def write(new: Cells) -> None:
        rows = [[*key, text] for key, text in sorted((known | new).items())]
        asked.cells.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
        asked.out.write_text(render(known | new), encoding="utf-8")

    new = run(kinds, asked.variant or NAMES, write)
    write(new)
    failed = [f"{' / '.join(key)}: {value}" for key, value in new.items() if value.startswith("fails")]
    print(f"{len(new)} cells, {len(failed)} fail. {asked.out}", *failed, sep="\n")
    return 1 if failed else 0


def read(file: Path) -> Cells:
    """The cells in a file; none if there is no file."""
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return {(model, variant, step): text for model, variant, step, text in rows}


if __name__ == "__main__":
    raise SystemExit(main())
