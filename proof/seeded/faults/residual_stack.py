"""How a seeded fault calibrates two layers in a row when the first one already holds W_res and nothing acts on it."""

from __future__ import annotations

from torch import Tensor, nn

from refs.settings import Settings
from subjects.own.attached import attached, stacked
from variants.runtime.adapter import Adapter


def stacked_on_the_residual(
    variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool
) -> dict[str, Tensor]:
    """The second layer's tensors; its inputs come from a first layer without its adapter."""
    if both:
        attached(variant, layers[0], settings)
        layers[0].adapter.unhook()  # type: ignore[operator, union-attr]
        del layers[0].adapter
    return stacked(variant, layers, settings, both=False)
