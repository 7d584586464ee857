"""What several commands take."""

from __future__ import annotations

import argparse
import math
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.planning.names import BadRequest
from conformance.running.limits import RUN_MINUTES

if TYPE_CHECKING:
    from conformance.planning.changed import Change

WORK = Path(".conformance")
"""Where raw evidence and the cards of partial audits go. Not committed."""
SINCE = "only the variants that a change since this git revision can affect"

PREFLIGHT_SECONDS = 10.0

RUN = ("pytest", "xdist", "pytest_timeout")
"""What the extra ``run`` brings."""
VARIANTS = ("transformers", "bitsandbytes")
"""What this repository's variants are asked with beside the core; the extra ``suite`` brings it, and ``RUN``."""
PLOTS = ("matplotlib",)
"""What ``cost`` and ``probe`` draw with; of the extra ``suite``."""

Commands = Any
"""What ``ArgumentParser.add_subparsers`` returns."""


def add_entries(parser: argparse.ArgumentParser) -> None:
    """``--entries``."""
    parser.add_argument(
        "--entries",
        metavar="MODULE:ATTRIBUTE",
        help="use this entry, tuple of entries or library instead of ours; MODULE may be a file (mine.py:ENTRY)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print plain data")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """``--limit``."""
    parser.add_argument(
        *("--limit", "-t"),
        type=minutes,
        default=RUN_MINUTES,
        metavar="MINUTES",
        help=f"end the run after this time; what has not been asked by then is UNPROVEN (default {RUN_MINUTES:g})",
    )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a whole number of at least 1")
    return int(text)


def minutes(text: str) -> float:
    """A time in minutes, more than none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a number of minutes above 0")
    return value


def require_installed(what: str, modules: Sequence[str]) -> None:
    """BadRequest where a module is not installed that an extra of the suite brings."""
    lacking = [module for module in modules if find_spec(module) is None]
    if lacking:
        extra = "run" if set(lacking) <= set(RUN) else "suite"
        raise BadRequest(
            f"{what}: got no {', '.join(lacking)} in this environment, want the packages of the extra {extra!r}. "
            f"Install them: python -m pip install 'adapter-conformance[{extra}]' (in a checkout: -e '.[{extra}]')."
        )


def change_since(options: argparse.Namespace) -> Change | None:
    """What changed since the revision that was asked for, and says so; None if none was."""
    if options.changed_since is None:
        return None
    if options.entries is not None:
        raise BadRequest(
            "--changed-since: got --entries, too; want one of the two. "
            "What a change affects is known of this repository's variants only."
        )
    from conformance.planning import changed

    change = changed.since(options.changed_since)
    print(change, file=sys.stderr)
    return change


def require_usable(options: argparse.Namespace) -> None:
    """BadRequest, in one message, if the entries of somebody else cannot be built, called and mapped.

    Code that gives no answer within ``PREFLIGHT_SECONDS`` is left to the audit, which has limits of its own.
    """
    if options.entries is None:
        return
    from conformance.foreign.preflight import preflight
    from conformance.planning.select import choose, entries_at

    chosen = choose(getattr(options, "variants", ()), entries_at(options.entries))
    raised: list[BaseException] = []

    def look() -> None:
        try:
            preflight(chosen)
        except BaseException as error:  # raised again, in the thread that waits
            raised.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PREFLIGHT_SECONDS)
    if raised:
        raise raised[0]
