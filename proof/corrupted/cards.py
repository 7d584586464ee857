"""Judge variants in a process whose peft is the one that PYTHONPATH names first: prints labels as JSON.

python -m proof.corrupted.cards --checks forward,init hra road ...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence


def main(names: Sequence[str], checks: Sequence[str]) -> None:
    """Per variant: label with the lock, without it, and without lock and closed form; and where its peft lies."""
    import peft
    import torch

    from proof.ask import WITHOUT_SUBJECT, Asked, cases_of
    from subjects.own.roster import ENTRIES

    torch.set_num_threads(1)
    told = {}
    for entry in (entry for entry in ENTRIES if entry.name in names):
        asked = Asked(entry)
        for planned in cases_of(entry, (*checks, WITHOUT_SUBJECT)):
            asked.ask(planned)
        closed = {case.reference for case in asked.findings if case.reference.startswith("closed:")}
        without = asked.judged(leaving_out={WITHOUT_SUBJECT})
        told[entry.name] = {
            "locked": asked.verdict.label.value,
            "unlocked": without.label.value,
            "at_fault": len(without.reference_faults),
            "alone": asked.judged(leaving_out={WITHOUT_SUBJECT, *closed}).label.value,
            "peft": peft.__file__,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--checks", type=lambda names: names.split(","), required=True)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    main(options.names, options.checks)
