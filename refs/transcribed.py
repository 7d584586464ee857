"""Turn a transcription into a subject: a layer whose weight and bias are what the formula says, with live tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refs.calibration import whole
from refs.settings import Settings
from refs.subject import AS_IS, Subject, View
from refs.transcriptions.transcription import RESIDUAL, Transcription

WEIGHTS_ONLY = ("references", "params", "init", "gradients", "forward", "influence", "trajectory")
"""The checks of a reference built as one weight in float32 or wider: it cannot say how a low-rank path rounds."""


class EffectiveLayer(nn.Module):
    """y = x W_eff^T + b_eff, computed in at least float32; trainable tensors are parameters, the others buffers."""

    def __init__(
        self, layer: nn.Linear, transcription: Transcription, config: Any, trainable: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.layer = layer
        self.transcription = transcription
        self.config = config
        self.trainable = tuple(trainable)
        for name, value in trainable.items():
            setattr(self, name, nn.Parameter(value))

    def freeze(self, tensors: Mapping[str, Tensor]) -> None:
        """Add the tensors that do not train."""
        for name, value in tensors.items():
            self.register_buffer(name, value)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors of the method."""
        return (*self.trainable, *(name for name, _ in self.named_buffers(recurse=False)))

    def forward(self, x: Tensor) -> Tensor:
        own: Tensor = getattr(self, self.names[0])
        wide = torch.promote_types(torch.promote_types(x.dtype, own.dtype), torch.float32)
        tensors = {name: getattr(self, name).to(wide) for name in self.names}
        bias = None if self.layer.bias is None else self.layer.bias.to(wide)
        weight, shift = self.transcription.effective(tensors, self.layer.weight.to(wide), bias, self.config)
        return F.linear(x.to(wide), weight, shift).to(x.dtype)


def build_transcribed(
    layer: nn.Linear,
    transcription: Transcription,
    config: Any,
    settings: Settings,
    *,
    trainable: tuple[str, ...],
    drawn: Mapping[str, Tensor] | None = None,
    names: Mapping[str, str] | None = None,
    views: Mapping[str, View] | None = None,
    core: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    oriented: bool = False,
    stored: bool = False,
) -> Subject:
    """The transcription around ``layer``, started as the authors start it.

    ``drawn``: initial values that come from a random generator. ``names``: the transcription's name of a tensor -> the
    name that the variants use, where they differ; ``views``: how a tensor reads there, where not as it is. ``core``:
    what the start takes out of the weight; U diag(S) Vh without one. With the option ``calibration``, the start looks
    at those inputs.
    ``oriented``: the start goes through the roots of a covariance, which float32 does not carry far enough: float64.
    ``stored``: W_res is formed against the factors as stored, and not as computed.
    """
    dtype = torch.float32 if settings.dtype is None else getattr(torch, settings.dtype)
    kind = settings.option("calibration", None)
    wide = torch.float64 if oriented else torch.float32
    inputs, mask = (None, None) if kind is None else whole(kind, layer.in_features, layer.weight.dtype)
    inputs = None if inputs is None else inputs.to(wide)
    W = layer.weight.detach().to(wide)
    start = _started(transcription, config, W, inputs, mask)
    residual = start.pop(RESIDUAL[0], None)
    if residual is not None:
        decomposed = dtype if stored else torch.float32
        start = {n: value if n in trainable else value.to(decomposed) for n, value in start.items()}
        _replace_weight(layer, start, residual, stored, core or _factors)
    values = {name: value.to(dtype) for name, value in {**start, **(drawn or {})}.items()}
    host = EffectiveLayer(layer, transcription, config, {n: v for n, v in values.items() if n in trainable})
    host.freeze({name: value for name, value in values.items() if name not in trainable})
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    read = views or {}
    return Subject(host, layer, {(names or {}).get(name, name): (name, read.get(name, AS_IS)) for name in values})


_made: dict[tuple[Any, ...], tuple[Transcription, dict[str, Tensor]]] = {}
KEPT = 64
"""How many starts are kept: a layer is built several times for a case, and its start follows from the same numbers."""


def _started(
    transcription: Transcription, config: Any, W: Tensor, inputs: Tensor | None, mask: Tensor | None
) -> dict[str, Tensor]:
    """The start that the weight and the inputs determine; what is drawn is no part of it."""
    if transcription.initial is None:
        return {}
    given = [None if t is None else (t.dtype, tuple(t.shape), t.numpy().tobytes()) for t in (W, inputs, mask)]
    key = (id(transcription), repr(config), *given)
    if key not in _made:
        if len(_made) >= KEPT:
            del _made[next(iter(_made))]
        # The transcription is held, so that nothing else gets its id.
        _made[key] = transcription, dict(transcription.initial(W, config, inputs, mask))
    return {name: value.clone() for name, value in _made[key][1].items()}


def _replace_weight(
    layer: nn.Linear,
    start: Mapping[str, Tensor],
    residual: Tensor,
    stored: bool,
    core: Callable[[Mapping[str, Tensor]], Tensor],
) -> None:
    """Leave W_res in the layer; in float64 formed there, so that only the factors carry the rounding of float32."""
    with torch.no_grad():
        if layer.weight.dtype == torch.float64 or stored:
            layer.weight.copy_(layer.weight.double() - core({name: value.double() for name, value in start.items()}))
        else:
            layer.weight.copy_(residual)


def _factors(start: Mapping[str, Tensor]) -> Tensor:
    product: Tensor = (start["U"] * start["S"]) @ (start["Vh"] if "Vh" in start else start["P"])
    return product
