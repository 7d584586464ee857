"""A step of training, side by side: forward, loss, backward, AdamW. Seconds by turns, and bytes by the allocator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.cost.counts import saved_bytes
from conformance.cost.memory import memory_of, single_thread
from conformance.cost.subjects import Contender
from conformance.cost.timing import Spread, alternating, ratio
from conformance.cost.whole import sides
from conformance.cost.whole.shapes import Shape, Way

LEARNING_RATE = 1e-5
Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """``seconds`` of a step; bytes alive at once in it above those from before (``peak``), and saved for the backward,
    without weights. ``trainable``: numbers. ``over``: time over that of the frozen model, round by round.
    """

    seconds: Spread
    over: Spread
    peak: int
    saved: int
    trainable: int


@dataclass(frozen=True)
class Stepped:
    """A variant on a whole model: the frozen model, the variant and peft's tuner, by turns."""

    name: str
    shape: str
    way: str
    bare: Side
    ours: Side
    peft: Side | None
    to_peft: Spread | None


class Step:
    """Called, it trains a model for one step. The frozen model has its embeddings' gradient computed instead."""

    def __init__(self, model: nn.Module, ids: Tensor, *, compiled: bool = False) -> None:
        self.model, self.ids = model, ids
        self.tensors = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.tensors, lr=LEARNING_RATE) if self.tensors else None
        self.call: Callable[..., Tensor] = torch.compile(self.loss) if compiled else self.loss
        self.given: dict[str, Tensor] = {"input_ids": ids}
        if self.optimiser is None:
            embedded = model.get_input_embeddings()(ids)  # type: ignore[operator]
            self.given = {"inputs_embeds": embedded.detach().requires_grad_()}

    def loss(self, **given: Tensor) -> Tensor:
        """Cross entropy of the next token, in float32."""
        logits = self.model(**given).logits[:, :-1].float()
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), self.ids[:, 1:].reshape(-1))

    def forward(self) -> Tensor:
        """The loss alone."""
        return self.call(**self.given)

    def __call__(self) -> None:
        self.forward().backward()  # type: ignore[no-untyped-call]
        if self.optimiser is None:
            self.given["inputs_embeds"].grad = None
        else:
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)


def stepped(contender: Contender, shape: Shape, way: Way, say: Say) -> Stepped | None:
    """One row of the table; None for an entry that cannot be put on a whole model."""
    say(f"putting {contender.name} on the {shape.name} model ({way.words})")
    ours = sides.variant(contender, shape, way)
    if ours is None:
        return None
    theirs = sides.peft(contender, shape, way)
    models = {"bare": shape.model(way.dtype, way.device), "ours": ours, **({"peft": theirs} if theirs else {})}
    ids = shape.ids(way.device)
    steps = {name: Step(model, ids, compiled=way.compiled) for name, model in models.items()}
    say(f"training {contender.name} on the {shape.name} model ({way.words})")
    seconds = alternating(steps, way.device)
    found = {name: _side(step, seconds[name], seconds["bare"], way) for name, step in steps.items()}
    beside = ratio(seconds["ours"], seconds["peft"]) if theirs else None
    return Stepped(contender.name, shape.name, way.words, found["bare"], found["ours"], found.get("peft"), beside)


def _side(step: Step, seconds: tuple[float, ...], bare: tuple[float, ...], way: Way) -> Side:
    peak = _peak_on_gpu(step) if way.device == "cuda" else memory_of(step).peak
    with single_thread():
        own = [step.ids, *step.given.values(), *step.model.parameters(), *step.model.buffers()]
        saved = saved_bytes(step.forward, own)
    return Side(Spread.of(seconds), ratio(seconds, bare), peak, saved, sum(p.numel() for p in step.tensors))


def _peak_on_gpu(step: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
