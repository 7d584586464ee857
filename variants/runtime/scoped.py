"""An adapter merged for the length of a block: decoding at the bare layers' price, and the weights back at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from variants.runtime.errors import AdapterError
from variants.runtime.layers.numbers import is_quantised
from variants.runtime.layers.wrapped import refuse_wrapped
from variants.runtime.merge import layers_of, merge, take_out
from variants.runtime.state import Attachment, attachments, chosen


@contextmanager
def merged(model: nn.Module, name: str | None = None, *, requantise: bool = False) -> Iterator[nn.Module]:
    """Inside, one adapter is part of its layers' weights, as ``merge`` makes it; afterwards it is not, bit for bit.

        model.eval()
        with merged(model):
            model.generate(...)

    No layer is hooked inside, so a step of decoding costs what it costs without an adapter. Entering takes as long as
    ``merge`` and holds a second copy of the merged layers' weights. The weights come back at the end of the block,
    whatever ends it. Inside, no gradients are recorded.

    ``requantise``: allow layers that bitsandbytes quantised. Merged into codes, W' is rounded a second time
    (about a tenth of |W'| in 4 bits); unmerged, nothing is lost. So these layers are refused unless this is set.

    Raises ``AdapterError`` at the start for all that ``merge`` refuses (a block inside a block for the same adapter
    included: it is merged already), quantised layers, and a model in training mode; inside, for a call of the model in
    training mode; at the end, if a tensor of the adapter was written inside (an optimiser's step): the outputs came
    from the old values. The weights are back by then, and what was written stays.
    """
    refuse_wrapped(model, "merged")
    attachment = chosen(model, name, where="merged")
    if any(adapter.training for adapter in attachment.layers.values()):
        raise _in_training(attachment.name)
    if not requantise:
        _refuse_codes(model, attachment)
    if attachment.merged:  # by somebody else, who will unmerge it
        merge(model, attachment.name)  # says so
    with torch.no_grad():
        guard = model.register_forward_pre_hook(_refuse_training)
        try:
            merge(model, attachment.name)
            before = _versions(attachment)
            yield model
            written = [key for key, version in _versions(attachment).items() if before.get(key) != version]
        finally:
            guard.remove()
            if attachment.merged:  # not if the block has unmerged or detached it
                take_out(model, attachment)
    if written:
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        raise AdapterError(
            got=f"{written[0]}{more} written inside the block",
            want="an adapter that stays as it was merged",
            where=f"end of merged({attachment.name!r})",
            fix="Train outside of the block. The new values are kept; outputs from inside belong to the old ones.",
        )


def _refuse_training(model: nn.Module, args: Any) -> None:
    """Before a call of the whole model. A copy that was made inside the block has this hook, too."""
    if model.training:
        for name, attachment in attachments(model).items():
            if attachment.merged:
                raise _in_training(name)


def _in_training(name: str) -> AdapterError:
    return AdapterError(
        got="a model in training mode",
        want="eval mode: a merged adapter is not trained",
        where=f"merged({name!r})",
        fix="Call model.eval() first, or train outside of the block.",
    )


def _refuse_codes(model: nn.Module, attachment: Attachment) -> None:
    for target, layer in layers_of(model, attachment).items():
        if is_quantised(layer):
            raise AdapterError(
                got=f"a quantised {type(layer).__name__}",
                want="floating-point weights: merged into codes, W' is rounded a second time",
                where=f"merged({attachment.name!r}) at {target}",
                fix="Leave the adapter unmerged, or accept the error with requantise=True.",
            )


def _versions(attachment: Attachment) -> dict[str, tuple[int, int]]:
    """What changes when a tensor is written or replaced. A tensor made in inference mode has no version."""
    return {key: (id(t), _version(t)) for key, t in attachment.tensors().items()}


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else int(tensor._version)
