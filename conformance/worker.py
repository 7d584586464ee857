"""Run cases in a process of their own, a JSON line per finding: ``python -m conformance.worker [NAME ...]``.

A crash in here (a segfault, say) ends this process and not the one that judges, which then sees what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from conformance.evidence import FORMAT


def main(arguments: list[str] | None = None) -> int:
    """Write header, findings and footer to the real standard output; whatever else prints goes to standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variants", nargs="*")
    parser.add_argument("--case")
    parser.add_argument("--entries")
    options = parser.parse_args(arguments)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    import torch

    torch.set_num_threads(1)
    from conformance.run import run_case
    from conformance.select import BadRequest, entries_at, plan_for

    try:
        plan = plan_for(options.variants, options.case, entries_at(options.entries))
    except BadRequest:
        return 2  # the parent plans the same and says why
    _say(channel, {"evidence": FORMAT})
    for planned in plan:
        _say(channel, run_case(planned).to_json())
    _say(channel, {"end": len(plan)})
    return 0


def _say(channel, row: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    channel.write(json.dumps(row) + "\n")
    channel.flush()


if __name__ == "__main__":
    sys.exit(main())
