"""What half precision brings out, in one method of each family: the dtype of the output and of the tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA
from variants.ia3 import IA3
from variants.ia3_ff import IA3FF
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.adapter import Adapter


class _Float32Output(Adapter):
    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.to(torch.promote_types(y.dtype, torch.float32)))


class _SilentlyBf16(Adapter):
    def __init__(self, config: Any, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        self.bfloat16()


class DoRAFloat32Output(_Float32Output, DoRA):
    """The output of a half-precision layer comes back in float32."""


class PiSSAFloat32Output(_Float32Output, PiSSA):
    """The output of a half-precision layer comes back in float32."""


class DeLoRAFloat32Output(_Float32Output, DeLoRA):
    """The output of a half-precision layer comes back in float32."""


class EVAFloat32Output(_Float32Output, EVA):
    """The output of a half-precision layer comes back in float32."""


class IA3Float32Output(_Float32Output, IA3):
    """The output of a half-precision layer comes back in float32."""


class HRAFloat32Output(_Float32Output, HRA):
    """The output of a half-precision layer comes back in float32."""


class ROADFloat32Output(_Float32Output, ROAD):
    """The output of a half-precision layer comes back in float32."""


class AntiPaSTOFloat32Output(_Float32Output, AntiPaSTO):
    """The output of a half-precision layer comes back in float32."""


class AntiPaSTORotFloat32Output(_Float32Output, AntiPaSTORot):
    """The output of a half-precision layer comes back in float32."""


class AntiPaSTOAblateFloat32Output(_Float32Output, AntiPaSTOAblate):
    """The output of a half-precision layer comes back in float32."""


class AntiPaSTOArrowFloat32Output(_Float32Output, AntiPaSTOArrow):
    """The output of a half-precision layer comes back in float32."""


class AntiPaSTOCorDAFloat32Output(_Float32Output, AntiPaSTOCorDA):
    """The output of a half-precision layer comes back in float32."""


class DoRASilentlyBf16(_SilentlyBf16, DoRA):
    """The tensors are in bfloat16 whatever was asked for."""


class DeLoRASilentlyBf16(_SilentlyBf16, DeLoRA):
    """The tensors are in bfloat16 whatever was asked for."""


class IA3FFSilentlyBf16(_SilentlyBf16, IA3FF):
    """The tensors are in bfloat16 whatever was asked for."""


class HRASilentlyBf16(_SilentlyBf16, HRA):
    """The tensors are in bfloat16 whatever was asked for."""


class ROADSilentlyBf16(_SilentlyBf16, ROAD):
    """The tensors are in bfloat16 whatever was asked for."""


class AntiPaSTOSilentlyBf16(_SilentlyBf16, AntiPaSTO):
    """The factors and the gain are in bfloat16 whatever was asked for."""
