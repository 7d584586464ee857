"""Linear layers as bitsandbytes keeps them, in 4 or in 8 bits, and the weight that they then amount to.

It is imported when the first such layer is made: it takes over a second.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

FOUR_BITS = ("nf4", "fp4")
EIGHT_BITS = "int8"
KINDS = (*FOUR_BITS, EIGHT_BITS)


def packed(layer: nn.Linear, kind: str) -> nn.Linear:
    """A quantised copy of ``layer`` on the CPU that computes in its dtype; ``kind`` is one of ``KINDS``."""
    bnb = _library()
    d_in, d_out, bias = layer.in_features, layer.out_features, layer.bias is not None
    if kind == EIGHT_BITS:
        made = bnb.nn.Linear8bitLt(d_in, d_out, bias, has_fp16_weights=False)
    else:
        made = bnb.nn.Linear4bit(d_in, d_out, bias, compute_dtype=layer.weight.dtype, quant_type=kind)
    made.load_state_dict(layer.state_dict())
    quantised: nn.Linear = made.to("cpu").train(layer.training)  # this is when the weight is quantised
    if quantised.weight.is_floating_point():
        raise RuntimeError(f"bitsandbytes left a {quantised.weight.dtype} weight where it should have quantised")
    return quantised


def dequantised(layer: nn.Linear) -> Tensor:
    """The numbers that the codes of a layer from ``packed`` stand for: ``(d_out, d_in)``, in float64."""
    bnb, weight = _library(), _any(layer.weight)
    if type(weight).__name__ == "Params4bit":
        numbers: Tensor = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
    else:
        scales = (
            _any(layer).state.SCB if weight.SCB is None else weight.SCB
        )  # the first call takes them from the weight
        numbers = bnb.functional.int8_vectorwise_dequant(weight.data, scales)
    return numbers.double()


def _library() -> Any:
    return import_module("bitsandbytes")


def _any(thing: object) -> Any:
    """A layer or a weight of the library, of which no types are known."""
    return thing


def bits(layer: nn.Module) -> dict[str, Tensor]:
    """Copies of every tensor that the layer keeps: codes, scales, bias."""
    return {name: t.detach().clone() for name, t in layer.state_dict().items() if isinstance(t, Tensor)}


@contextmanager
def quietly() -> Iterator[None]:
    """bitsandbytes and peft say in which dtype they compute; that is no news here."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def offers(objects: tuple[str, ...]) -> bool:
    """Whether peft has a quantised layer of its own for the method that lives in these objects' folder."""
    folder = objects[0].partition("::")[0].rpartition("/")[0].replace("/", ".")
    return find_spec(f"{folder}.bnb") is not None
