"""One variant on one model: its fresh and its trained adapter, and what it means that a step went wrong."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.zoo import Kind
from variants import AdapterError, Attachment, Targets, attach, by_name, config_for

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
    dtype: str = "float64"

    def attached(
        self, base: nn.Module | None = None, heads: Sequence[str] = (), *, stacked: bool = False
    ) -> tuple[nn.Module, Attachment]:
        """A copy of the base with a fresh adapter on its layers, or on what is ``stacked``. ``heads`` train whole."""
        model = copy.deepcopy(self.base if base is None else base)
        rank = {"r": 2} if "r" in by_name(self.variant).Config.__dataclass_fields__ else {}
        options: dict[str, Any] = {**rank, **OPTIONS.get(self.variant, {}), "dtype": self.dtype}
        if self.kind.head:
            options["targets"] = Targets(exclude=(self.kind.head,))
        if stacked:
            options["targets"] = Targets(parameters=self.kind.stacked)
        config = config_for(self.variant, **options)
        batch = {key: t for key, t in self.batch.items() if key != "labels"}
        if self.kind.name in ("T5", "Whisper"):
            batch["decoder_input_ids"] = self.batch["labels"]
        data = [batch] if self.variant in NEED_DATA else None
        torch.manual_seed(1)
        return model, attach(model, config, calibration=data, sample=self.batch, modules_to_save=heads)

    def trained(self) -> nn.Module:
        """The same with the adapter after a few steps, in evaluation mode. Trained once."""
        return copy.deepcopy(self._trained)

    @cached_property
    def _trained(self) -> nn.Module:
        return self.stepped(*self.attached())

    def stepped(self, model: nn.Module, attachment: Attachment) -> nn.Module:
        """The model after a few steps, in evaluation mode."""
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
        found: Tensor = model(**self.batch).loss
        return found

    def out(self, model: nn.Module) -> Tensor:
        """Logits on the batch."""
        with torch.no_grad():
            found: Tensor = model(**self.batch).logits
        return found

    @property
    def batch(self) -> dict[str, Tensor]:
        """What the model is called with, in its dtype."""
        dtype = getattr(torch, self.dtype)
        return {key: t.to(dtype) if t.is_floating_point() else t for key, t in self.kind.batch.items()}


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


def answer(call: Callable[..., None], life: Life, *given: Any) -> str:
    """``works``, ``-``, ``refuses: why``, ``peft refuses: why`` or ``fails: why``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(life, *given)
    except NotHere:
        return "-"
    except AdapterError as error:
        return f"refuses: {error.told}".replace(str(life.folder), "DIR")
    except PeftRefuses as error:
        return f"peft refuses: {error}"
    except Wrong as error:
        return f"fails: {error}"
    except Exception as error:  # a cell is no reason to lose the others
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return "works"
