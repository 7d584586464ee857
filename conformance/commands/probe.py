"""``conformance probe``: does a variant learn on a model of the user's?"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from conformance.commands.options import PLOTS, WORK, Commands, add_json, positive, require_installed
from conformance.planning.names import BadRequest, require_variants

DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")


def add_to(commands: Commands) -> None:
    """Say what ``probe`` takes."""
    parser = commands.add_parser(
        "probe",
        help="train a variant on a model of yours: held-out loss beside a control",
        description="Trains the variant on a causal language model from a local folder or config, and the same on "
        "shuffled targets as a control. Status 0: the held-out loss falls further than that of the control, by more "
        "than three standard errors; 1: it does not, or the adapter is at fault; 2: something is not there.",
    )
    parser.add_argument("--model", type=Path, required=True, help="local folder, or a config file (random weights)")
    parser.add_argument("--variant", required=True, help="what to train; see `conformance list`")
    parser.add_argument("--data", type=Path, help="text, JSON or JSONL to train on (default: generated sequences)")
    parser.add_argument(
        *("--set",),
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an option, such as r=16; may be repeated",
    )
    parser.add_argument(
        "--targets", nargs="+", default=[], metavar="LAYER", help="names of layers (default: every linear layer)"
    )
    parser.add_argument("--lr", type=_rate, help="learning rate (default: that of the method's authors)")
    parser.add_argument("--steps", type=positive, default=40, help="optimiser steps (default %(default)s)")
    parser.add_argument("--batch", type=positive, default=16, help="sequences per step (default %(default)s)")
    parser.add_argument("--length", type=positive, default=64, help="tokens of a sequence of --data (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of start, data and control (default %(default)s)")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="dtype of the base's weights (default %(default)s)"
    )
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where to train (default %(default)s)")
    parser.add_argument(
        "--plot", type=Path, help="file of the loss plot (default .conformance/probe/MODEL-VARIANT.svg)"
    )
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Look at what was asked for, without torch, then probe."""
    from conformance.planning.select import own_names

    require_variants([options.variant], [name for name, _ in own_names()])
    config = options.model / "config.json" if options.model.is_dir() else options.model
    if not config.is_file():
        raise BadRequest(f"--model: got {options.model}, want a local folder with a config.json, or a config file.")
    if options.data is not None and not options.data.is_file():
        raise BadRequest(f"--data: got {options.data}, want a file.")
    require_installed("probe", PLOTS)
    try:
        from learning import probe
        from learning.probed import Asked
    except ImportError as error:
        raise BadRequest(f"probe: got no {error.name}, want the whole project installed.") from None
    asked = Asked(
        model=options.model,
        variant=options.variant,
        data=options.data,
        options=tuple(options.settings),
        targets=tuple(options.targets),
        lr=options.lr,
        steps=options.steps,
        batch=options.batch,
        length=options.length,
        seed=options.seed,
        dtype=options.dtype,
        device=options.device,
    )
    whole = options.model.resolve()
    name = f"{whole.parent.name if whole.name == 'config.json' else whole.name}-{options.variant}.svg"
    return probe.run(asked, options.plot or WORK / "probe" / name, as_json=options.json)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a learning rate above 0")
    return value
