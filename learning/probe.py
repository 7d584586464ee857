"""Does a variant learn on a model of the user's? Held-out loss beside a control that is trained on shuffled targets."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conformance.planning.names import BadRequest
from conformance.running.background import Bar
from learning import task
from learning.measure import Run, generates, moves, prints, reloads, train
from learning.options import parsed
from learning.own_data import from_file, made
from learning.own_model import OwnModel, own_model
from learning.probed import Asked, Probed, data, svg, table
from learning.sides import NEEDS_DATA
from learning.task import Data
from variants import Targets, attach, config_for


def probe(asked: Asked, bar: Bar | None = None) -> Probed:
    """Train the variant, and the same on shuffled targets, from one start; look at held-out sequences.

    BadRequest: what was asked for is not there. AdapterError: the variant refuses the model or the options.
    """
    start = time.perf_counter()
    bar = bar or Bar("probe", 2 * asked.steps, quiet=True)
    own = _model(asked)
    taught = _data(asked, own)
    total = sum(p.numel() for p in own.model.parameters())
    adapter = _put(asked, own.model, taught)
    trainable = sum(p.numel() for p in adapter.parameters())
    before = prints(own.model)
    bar.begin()
    ours = _trained(asked, own.model, taught, bar)
    losses = task.losses(own.model, taught.held_inputs, taught.held_targets, asked.batch)
    still, base_moved = moves(before, own.model)
    cached = generates(own.model, taught.held_inputs)
    fresh = _model(asked).model
    reloaded = reloads(own.model, fresh, taught.held_inputs[: asked.batch])
    del fresh
    kind, layers, has_weights = own.model.config.model_type, len(adapter.layers), own.has_weights  # type: ignore[union-attr]
    del own, adapter
    other = _model(asked).model
    _put(asked, other, taught)
    control = _trained(asked, other, taught.shuffled(asked.seed + 1), bar)
    gain = task.losses(other, taught.held_inputs, taught.held_targets, asked.batch) - losses
    n, held, length = len(taught.inputs), len(taught.held_inputs), taught.inputs.shape[1]
    error = (gain.std() / math.sqrt(held)).item()
    return Probed(
        asked,
        str(kind),
        has_weights,
        (n, held, length),
        ours,
        control,
        (gain.mean().item(), error),
        trainable,
        total,
        layers,
        still,
        base_moved,
        reloaded,
        cached,
        time.perf_counter() - start,
    )


def _model(asked: Asked) -> OwnModel:
    own = own_model(asked.model, dtype=asked.dtype, seed=asked.seed)
    return replace(own, model=own.model.to(asked.device))


def _data(asked: Asked, own: OwnModel) -> Data:
    config: Any = own.model.config
    vocabulary, places = config.get_text_config().vocab_size, getattr(config, "max_position_embeddings", None)
    if asked.data is None:
        found = made(vocabulary, asked.seed, asked.batch)
    else:
        if places is not None and asked.length > places:
            raise BadRequest(f"--length: got {asked.length}, want at most the model's {places} places.")
        options: dict[str, int] = {"length": asked.length, "seed": asked.seed, "batch": asked.batch}
        found = from_file(asked.data, own.tokenizer, vocabulary=vocabulary, **options)
    return Data(
        found.inputs.to(asked.device),
        found.targets.to(asked.device),
        found.held_inputs.to(asked.device),
        found.held_targets.to(asked.device),
        asked.batch,
    )


def _put(asked: Asked, model: nn.Module, taught: Data) -> Any:
    config = config_for(asked.variant, targets=Targets(include=asked.targets), **parsed(asked.options))
    torch.manual_seed(asked.seed)
    batches = [{"input_ids": part} for part in torch.split(taught.inputs, asked.batch)]
    return attach(model, config, calibration=batches if asked.variant in NEEDS_DATA else None)


def _trained(asked: Asked, model: nn.Module, taught: Data, bar: Bar) -> Run:
    def each(loss: float) -> None:
        if not math.isfinite(loss):
            raise BadRequest(f"--lr: got a loss of {loss} at {asked.rate:g}, want a finite one. Pass a lower --lr.")
        bar.step(f"loss {loss:.4f}")

    torch.manual_seed(asked.seed)  # for dropout
    return train(model, taught, asked.rate, asked.steps, each)


def run(asked: Asked, plot: Path, say: Callable[[str], None] = print, *, as_json: bool = False) -> int:
    """Probe, print the table or plain data, write the plot. Status 0: it learns; 1: there is no sign of it."""
    if asked.device != "cpu" and not torch.cuda.is_available():
        raise BadRequest(f"--device: got {asked.device}, want one that is here: cpu.")
    plot.parent.mkdir(parents=True, exist_ok=True)
    found = probe(asked, Bar(f"{asked.variant} and control", 2 * asked.steps))
    plot.write_text(svg(found), encoding="utf-8", newline="\n")
    if as_json:
        say(json.dumps(data(found) | {"plot": str(plot)}, indent=2))
    else:
        say(table(found))
        say(f"Loss plot: {plot}")
    return 0 if found.learns and found.sound else 1
