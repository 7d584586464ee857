"""Judge variants in a process whose peft is the one that PYTHONPATH names first: prints labels as JSON.

python -m proof.corrupted.cards hra road ...
"""

from __future__ import annotations

import json
import sys


def main(names: list[str]) -> None:
    """Per variant: label with the lock, without it, and without lock and closed form; and where its peft lies."""
    import peft
    import torch

    from conformance.roster import ENTRIES
    from proof.jury import QUICK_CHECKS, WITHOUT_SUBJECT, Hearing, cases_of

    torch.set_num_threads(1)
    told = {}
    for entry in (entry for entry in ENTRIES if entry.name in names):
        hearing = Hearing(entry)
        for planned in cases_of(entry, (*QUICK_CHECKS, WITHOUT_SUBJECT)):
            hearing.ask(planned)
        closed = {case.reference for case in hearing.findings if case.reference.startswith("closed:")}
        without = hearing.judged(leaving_out={WITHOUT_SUBJECT})
        told[entry.name] = {
            "locked": hearing.verdict.label.value,
            "unlocked": without.label.value,
            "at_fault": len(without.reference_faults),
            "alone": hearing.judged(leaving_out={WITHOUT_SUBJECT, *closed}).label.value,
            "peft": peft.__file__,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
