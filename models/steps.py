"""What is done with one variant on one model, step by step; a step that cannot be done raises."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.zoo import Kind
from variants import (
    attach,
    by_name,
    config_for,
    detach,
    export_peft,
    import_peft,
    load,
    merge,
    merge_and_detach,
    save,
    unmerge,
)
from variants.runtime.state import Attachment

NEAR = 1e-6
"""How far two outputs may be apart that are equal but for rounding (some models compute parts in float32)."""
START_OFF = {"antipasto_rot": 0.1, "antipasto_ablate": 0.3}
"""How far from the base a fresh adapter may be, for the methods that start near it by design."""
NEED_DATA = ("eva", "antipasto_corda")
OPTIONS: dict[str, dict[str, Any]] = {
    "antipasto_rot": {"block_size": 2},
    "antipasto_arrow": {"block": 1},
    "road": {"group_size": 2},
}


class Wrong(Exception):
    """A step ran and its result is not what it has to be."""


class PeftRefuses(Exception):
    """peft has a rule against this model."""


class NotHere(Exception):
    """The model itself has no such step."""


@dataclass
class Life:
    """One variant on one model: every step starts from a fresh copy with the same trained adapter."""

    kind: Kind
    base: nn.Module
    variant: str
    folder: Path

    def attached(self) -> tuple[nn.Module, Attachment]:
        """A copy of the base with a fresh adapter on it."""
        model = copy.deepcopy(self.base)
        rank = {"r": 2} if "r" in by_name(self.variant).Config.__dataclass_fields__ else {}
        config = config_for(self.variant, **rank, **OPTIONS.get(self.variant, {}), dtype="float64")
        batch = {key: t for key, t in self.kind.batch.items() if key != "labels"}
        if self.kind.name in ("T5", "Whisper"):
            batch["decoder_input_ids"] = self.kind.batch["labels"]
        data = [batch] if self.variant in NEED_DATA else None
        torch.manual_seed(1)
        return model, attach(model, config, calibration=data, sample=self.kind.batch)

    def trained(self) -> nn.Module:
        """The same with the adapter after a few steps, in evaluation mode. Trained once."""
        return copy.deepcopy(self._trained)

    @cached_property
    def _trained(self) -> nn.Module:
        model, attachment = self.attached()
        model.train()
        optimiser = torch.optim.Adam(attachment.parameters(), lr=0.02)
        for _ in range(3):
            optimiser.zero_grad()
            self.loss(model).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return model.eval()

    @cached_property
    def logits(self) -> Tensor:
        """Of the trained model."""
        return self.out(self._trained)

    def loss(self, model: nn.Module) -> Tensor:
        """On the batch, with the same dropout every time."""
        torch.manual_seed(2)
        found: Tensor = model(**self.kind.batch).loss
        return found

    def out(self, model: nn.Module) -> Tensor:
        """Logits on the batch."""
        with torch.no_grad():
            found: Tensor = model(**self.kind.batch).logits
        return found


def attaching(life: Life) -> None:
    """The base is computed at first, with the adapter on and off again."""
    model, attachment = life.attached()
    before = life.out(life.base)
    near(life.out(model), before, "the start is not the base", START_OFF.get(life.variant, NEAR))
    require(bool(attachment.layers), "no layer has an adapter")
    detach(model)
    equal(life.out(model), before, "detach does not give the base back")


def training(life: Life) -> None:
    """Every trainable tensor gets a gradient, the base none, and the outputs move."""
    model = life.trained().train()
    life.loss(model).backward()  # type: ignore[no-untyped-call]
    trainable = [p for p in model.parameters() if p.requires_grad]
    require(all(p.grad is not None for p in trainable), "a tensor gets no gradient")
    state = {key: t for key, t in model.state_dict().items() if ".adapter." not in key}
    require(all(torch.equal(t, state[key]) for key, t in life.base.state_dict().items()), "the base has moved")
    require(bool((life.logits - life.out(life.base)).abs().max() > NEAR), "training changes nothing")


def saving(life: Life) -> None:
    """Bit for bit on a fresh base."""
    path = life.folder / "adapter.safetensors"
    save(life.trained(), path)
    fresh = copy.deepcopy(life.base)
    load(fresh, path)
    equal(life.out(fresh), life.logits, "a loaded adapter computes something else")


def merging(life: Life) -> None:
    """The same outputs."""
    model = life.trained()
    merge(model)
    near(life.out(model), life.logits, "the merged model computes something else")


def unmerging(life: Life) -> None:
    """Bit for bit back."""
    model = life.trained()
    merge(model)
    unmerge(model)
    equal(life.out(model), life.logits, "unmerge gives something else")


def merging_for_good(life: Life) -> None:
    """A plain model with the keys of the base."""
    model = merge_and_detach(life.trained())
    near(life.out(model), life.logits, "the merged model computes something else")
    require(model.state_dict().keys() == life.base.state_dict().keys(), "other keys than the base's")


def generating(life: Life) -> None:
    """The same tokens with and without a cache."""
    if life.kind.prompt is None:
        raise NotHere
    model: Any = life.trained()
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    with_cache, without = (model.generate(**life.kind.prompt, **options, use_cache=use) for use in (True, False))
    equal(with_cache, without, "other tokens with a cache than without")


def exporting(life: Life) -> None:
    """peft computes the same from the exported files."""
    near(life.out(_in_peft(life)), life.logits, "peft computes something else")


def importing(life: Life) -> None:
    """What peft saves comes back and computes the same."""
    _in_peft(life).save_pretrained(str(life.folder / "from-peft"))
    model = copy.deepcopy(life.base)
    import_peft(model, life.folder / "from-peft")
    near(life.out(model), life.logits, "what comes back from peft computes something else")


def checkpointing(life: Life) -> None:
    """The same gradients with gradient checkpointing."""
    grads = []
    for on in (False, True):
        model: Any = life.trained().train()
        if on:
            if not model.supports_gradient_checkpointing:
                raise NotHere
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        life.loss(model).backward()  # type: ignore[no-untyped-call]
        found = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        require(all(grad is not None for grad in found.values()), "a tensor gets no gradient")
        grads.append(torch.cat([grad.reshape(-1) for grad in found.values()]))
    near(grads[1], grads[0], "other gradients")


STEPS: dict[str, Callable[[Life], None]] = {
    "attach": attaching,
    "train": training,
    "save, load": saving,
    "merge": merging,
    "unmerge": unmerging,
    "merge for good": merging_for_good,
    "generate": generating,
    "export": exporting,
    "import": importing,
    "checkpointing": checkpointing,
}


def _in_peft(life: Life) -> Any:
    import peft

    folder = life.folder / "for-peft"
    export_peft(life.trained(), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return peft.PeftModel.from_pretrained(copy.deepcopy(life.base), str(folder)).eval()
        except ValueError as error:
            if "incompatible with" not in str(error):
                raise
            raise PeftRefuses(str(error).partition(". ")[0]) from error


def near(got: Tensor, want: Tensor, what: str, limit: float = NEAR) -> None:
    """Equal but for rounding, relative to the largest entry."""
    require(bool((got - want).abs().max() <= limit * want.abs().max()), what)


def equal(got: Tensor, want: Tensor, what: str) -> None:
    """Equal to the bit."""
    require(torch.equal(got, want), what)


def require(ok: bool, what: str) -> None:
    """``Wrong`` unless ``ok``."""
    if not ok:
        raise Wrong(what)
