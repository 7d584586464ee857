"""The check ``masks``: it is asked, it kills dropout in the wrong place, and it spares the right one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.checks.registry import CHECKS
from conformance.planning.plan import make_plan
from proof.ask import killers
from subjects.own.entry import entry_for
from subjects.own.low_rank import LORA
from subjects.own.roster import ENTRIES
from variants.lora import LoRA

CHECK = next(check for check in CHECKS if check.name == "masks")


class OfTheHidden(LoRA):
    """Drops numbers of A x."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        h = F.linear(x.to(self.A.dtype), self.A)
        return (y + self.config.scale * F.linear(self._dropped(h, h.dtype), self.B)).to(y.dtype)


class OfTheWholeBatch(LoRA):
    """One mask for all rows."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        mask = super()._dropped(torch.ones_like(x[..., :1, :][:1]), dtype)
        return x.to(dtype) * mask


class WithoutTheScale(LoRA):
    """What is kept is not scaled up."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return super()._dropped(x, dtype) * (1 - self.config.dropout)


class Keeps(LoRA):
    """Keeps with p, and drops with 1 - p."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return F.dropout(x.to(dtype), 1 - self.config.dropout, self.training) if self.config.dropout else x.to(dtype)


def test_it_is_asked() -> None:
    """A variant with dropout would be called right with no mask ever looked at alone."""
    asked = {planned.entry.name for planned in make_plan(ENTRIES, (CHECK,))}
    assert asked == {entry.name for entry in ENTRIES if entry.has_dropout}


@pytest.mark.parametrize("wrong", [OfTheHidden, OfTheWholeBatch, WithoutTheScale, Keeps])
def test_it_kills_a_wrong_variant(wrong: type[LoRA]) -> None:
    """Dropout in the wrong place would be called right where no reference draws masks."""
    assert set(killers(entry_for(wrong, like=LORA), ("masks",))) == {"masks"}


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.has_dropout], ids=lambda e: e.name)
def test_it_spares_the_right_variant(entry) -> None:  # type: ignore[no-untyped-def]
    """A false positive."""
    assert killers(entry, ("masks",)) == {}
