"""RoAd in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from refs.adjoints.layerwise import pairs
from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import AS_IS, FLAT, Subject, View
from refs.transcribed import WEIGHTS_ONLY, build_transcribed
from refs.transcriptions import road as authors

NAMES = {"theta": ("road_theta.default", AS_IS), "alpha": ("road_alpha.default", AS_IS)}

OBJECTS = (
    "peft/tuners/road/layer.py::_apply_road",
    "peft/tuners/road/layer.py::_prepare_cols",
    "peft/tuners/road/layer.py::Linear",
    "peft/tuners/road/layer.py::RoadLayer",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._move_adapter_to_device_of_base_layer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    from peft import RoadConfig

    config = RoadConfig(
        variant=settings.option("kind", "road_1"),
        group_size=settings.option("group_size", 64),
        target_modules=["layer"],
    )
    return build_peft(layer, config, NAMES, settings)


PAIR_BY_PAIR = View(
    lambda t: t.reshape(2, -1, 2).transpose(0, 1).reshape(-1),
    lambda t, shape: t.reshape(-1, 2, 2).transpose(0, 1).reshape(shape),
)
"""The authors' two rows of variant 4, (2, d), as peft lays them out in groups of 2: those of c before those of s."""


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    kind = settings.option("kind", "road_1").removeprefix("road_")
    view = PAIR_BY_PAIR if kind == "4" else FLAT
    names = ("theta", "alpha")
    config, views = authors.Config(kind), dict.fromkeys(names, view)
    return build_transcribed(layer, authors.TRANSCRIPTION, config, settings, trainable=names, views=views)


def rotation(t: Mapping[str, Array], d_out: int, kind: str, group: int) -> Array:
    """The whole matrix R: (d_out, d_out), one 2 x 2 block per pair of outputs, entry by entry."""
    R = np.zeros((d_out, d_out))
    half = group // 2
    for pair in range(d_out // 2):
        start, at = pair // half * group, pair % half
        rows = start + at, start + half + at
        for row, other, sign in ((rows[0], rows[1], -1), (rows[1], rows[0], 1)):
            cos_at = {"road_1": pair, "road_2": row, "road_4": row + start}[kind]
            sin_at = cos_at + group if kind == "road_4" else cos_at
            R[row, row] = t["alpha"][cos_at] * np.cos(t["theta"][cos_at])
            R[row, other] = sign * t["alpha"][sin_at] * np.sin(t["theta"][sin_at])
    return R


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    R = rotation(t, len(W), settings.option("kind", "road_1"), settings.option("group_size", 64))
    return R @ W, R @ b


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    GR = G @ W.T + np.outer(h, b)
    return pairs(t, len(W), settings.option("kind", "road_1"), settings.option("group_size", 64), GR)


def _draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    """Every angle 0, every scale 1: half as many of each as there are outputs, as many, or twice as many."""
    n = {"road_1": len(W) // 2, "road_2": len(W), "road_4": 2 * len(W)}[settings.option("kind", "road_1")]
    return {"theta": np.zeros(n), "alpha": np.ones(n)}


GROUPS_OF_4 = (("group_size", 4),)
"""The probes' layers have 20 and 16 outputs; the default of 64 fits neither."""


METHOD = Method(
    name="road",
    paper=Paper(
        "2409.00119", "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability"
    ),
    author=Author(
        "https://github.com/BaohaoLiao/pyreft",
        "examples/loreft/src1/peft/tuners/lora/layer.py",
        "38dfe268df18bdc19a13fb1af6a7eb49431ac986",
        "a90e7afdf9a5a02e5b9d2852e33db287de78c1a085abeba916faad3a96af1c30",
        "Apache-2.0; the author's development fork: https://github.com/BaohaoLiao/road (MIT) holds no code",
    ),
    references=(
        Live(
            "peft:road",
            _build,
            OBJECTS,
            "y' = base(x) * (alpha cos theta) + rotate_half(base(x)) * (alpha sin theta)\n"
            "rotate_half maps the halves (y1, y2) of each group to (-y2, y1)",
            options=GROUPS_OF_4,
        ),
        Transcribed(
            "authors:road",
            _build_authors,
            "transcriptions/road.py",
            authors.TRANSCRIPTION.variants,
            "y = (x W^T + b) R^T, R of 2 x 2 blocks over adjacent outputs (group_size 2)\n"
            "theirs has an input side, too (W' = W R), which this variant does not offer",
            options=(("group_size", 2),),
            checks=(*WEIGHTS_ONLY, "pairing"),
        ),
        ClosedForm(
            "closed:road",
            _effective,
            "W' = R W, b' = R b, R of 2 x 2 blocks over pairs of outputs",
            options=GROUPS_OF_4,
            draw=_draw,
            pullback=_pullback,
        ),
    ),
)
