"""``python -m distributed [VARIANT...]``: run all of it, write ``reports/distributed.md``, fail if a cell does."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

from conformance.planning.names import BadRequest, require_variants
from learning.rates import RATES

PAGE = Path(__file__).parents[1] / "reports" / "distributed.md"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 1 if a cell is not as it has to be, 2 for a name that is not known."""
    parser = argparse.ArgumentParser(prog="python -m distributed", description=__doc__)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="all of them if none is named")
    parser.add_argument("--out", type=Path, default=PAGE, help="where to write the page (%(default)s)")
    asked = parser.parse_args(arguments)
    if asked.variants and asked.out == PAGE:
        parser.error("a part of the table does not replace the committed page: pass --out")
    try:
        require_variants(asked.variants, list(RATES))
    except BadRequest as error:
        print(f"distributed: {error}", file=sys.stderr)
        return 2
    import torch

    from distributed import table

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:4.0f} s  {what}", file=sys.stderr, flush=True)

    cells = table.run(asked.variants or list(RATES), say)
    asked.out.write_text(table.render(cells), encoding="utf-8", newline="\n")
    wrong = table.failed(cells)
    print(f"{len(cells)} cells, {len(wrong)} not as they have to be. {asked.out}", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
