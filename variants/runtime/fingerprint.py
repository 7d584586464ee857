"""Which base an adapter belongs to, in one line: kind, shape and SHA-256 of the numbers of a layer's weight."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import Tensor, nn

from variants.runtime.layers.packing import codes_of
from variants.runtime.state import weight_of

DIGEST = re.compile(r"[0-9a-f]{64}")
SCALES = " scales "


def fingerprint(layer: nn.Module) -> str:
    """The weight's dtype, shape and SHA-256 of its bytes: ``float32 10x6 9f86...``.

    Of a quantised layer of bitsandbytes: ``nf4 10x6 codes 9f86... scales 60303...``, in one packing. Scales of 4-bit
    codes count as bfloat16, for that is what a call may leave of them (``runtime.layers.packing``): a scale that
    changes by less than its rounding to bfloat16 (up to 0.4 %) is not seen. Nested scales count by what they amount
    to. Those of a ``state_dict()`` after a call on a CPU with AVX512-BF16 are quantised anew: other numbers, another
    base.

    Of any other layer with a weight of integers or 8-bit floats, its other tensors but the bias are hashed with it.
    """
    quantised = codes_of(layer)
    if quantised is not None:
        scales = quantised.scales if quantised.kind == "int8" else quantised.scales.to(torch.bfloat16)
        digests = _digest(quantised.codes), _digest(torch.tensor(quantised.block), scales)
        return f"{quantised.kind} {_sizes(quantised.shape)} codes {digests[0]}{SCALES}{digests[1]}"
    weight = weight_of(layer).detach()
    others = [] if weight.is_floating_point() and weight.itemsize > 1 else _others(layer)
    return f"{weight.dtype} {_sizes(weight.shape)} {_digest(weight, *others)}".removeprefix("torch.")


def kind_of(fingerprint: str) -> str:
    """The dtype of the weight that a fingerprint is of, or what it is quantised to."""
    return fingerprint.partition(" ")[0]


def shortened(fingerprint: str) -> str:
    """Kind and shape, and enough of each hash to tell two bases apart."""
    return DIGEST.sub(lambda digest: digest[0][:16], fingerprint)


def without_scales(fingerprint: str) -> bool:
    """Whether it is of a weight of integers alone, as fingerprints of quantised layers once were."""
    return SCALES not in fingerprint and kind_of(fingerprint) in ("uint8", "int8")


def differ_in_scales_only(fingerprint: str, other: str) -> bool:
    """Whether two fingerprints are of the same codes with other scales."""
    return SCALES in fingerprint and fingerprint.partition(SCALES)[0] == other.partition(SCALES)[0]


def _others(layer: nn.Module) -> list[Tensor]:
    named = {**layer._parameters, **layer._buffers}
    return [t.detach() for name, t in sorted(named.items()) if t is not None and name not in ("weight", "bias")]


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.cpu().contiguous()
        # A tensor of one element counts as contiguous whatever its strides are, and then view() may refuse it.
        found.update(plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
