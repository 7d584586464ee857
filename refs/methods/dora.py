"""DoRA in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from refs.adjoints.low_rank import magnitude, magnitude_and_norm
from refs.live import build_peft
from refs.methods import lora
from refs.reference import Alternative, Array, Author, ClosedForm, Live, Method, Paper
from refs.settings import Settings
from refs.subject import AS_IS, Subject

NAMES = {**lora.NAMES, "m": ("lora_magnitude_vector.default.weight", AS_IS)}

OBJECTS = (
    "peft/tuners/lora/dora.py::DoraLinearLayer",
    "peft/tuners/lora/variants.py::DoraLinearVariant",
    *lora.OBJECTS,
)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    return build_peft(layer, lora.lora_config(settings, use_dora=True), NAMES, settings)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    V = W + lora.scale(settings) * t["B"] @ t["A"]
    norm = np.sqrt((V * V).sum(axis=1))
    # A zero row of V stays zero whatever its factor is: the limit, where m / |V| is 0 / 0.
    factor = np.divide(t["m"], norm, out=np.ones_like(norm), where=norm > 0)
    return factor[:, None] * V, b


def _draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    return {**lora.draw(rng, W, settings), "m": np.sqrt((W * W).sum(axis=1))}


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    return magnitude(t, W, lora.scale(settings), G)


def _with_the_norm(
    t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array
) -> dict[str, Array]:
    return magnitude_and_norm(t, W, lora.scale(settings), G)


METHOD = Method(
    name="dora",
    paper=Paper("2402.09353", "DoRA: Weight-Decomposed Low-Rank Adaptation"),
    author=Author(
        "https://github.com/NVlabs/DoRA",
        "commonsense_reasoning/peft/src/peft/tuners/dora.py",
        "20bf5207f60cd86b461905497ae733356246fc66",
        "a2b36c729ffd62904e320bb1cc7e18fabd2341b8c840b2c27475f04a0e107178",
    ),
    alternatives=(
        Alternative(
            "dora_simple=False",
            "|V|_row takes part in the gradient; their default, dora_simple=True, takes it for a constant",
            _with_the_norm,
        ),
    ),
    references=(
        Live(
            "peft:dora",
            _build,
            OBJECTS,
            "y' = base(x) + (m/n - 1) * (W d) + (m/n) * s * lora_B(lora_A(d))\n"
            "d = dropout(x), n = |W + s B A|_row, detached",
        ),
        ClosedForm(
            "closed:dora", _effective, "W' = (m / |V|_row) V with V = W + s B A, b' = b", draw=_draw, pullback=_pullback
        ),
    ),
)
