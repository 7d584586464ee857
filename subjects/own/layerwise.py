"""IA3, HRA and ROAD: which option sets are asked, what must be refused, which differences are declared."""

from __future__ import annotations

from conformance.nouns.finding import RAISED
from conformance.nouns.verdict import Deviation
from subjects.own.entry import INSIDE, ON_CODES, row, sets

PEFT_HRA = "https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/hra/layer.py#L111"

IA3 = row("ia3", invariants=ON_CODES, has_rank=False, refused=sets({"feedforward": True}))

IA3_FF = row("ia3_ff", invariants=ON_CODES, has_rank=False, refused=sets({"feedforward": False}))

HRA = row(
    "hra",
    invariants=("reflection", INSIDE, *ON_CODES),
    options=sets({"gram_schmidt": True}, {"side": "output"}, {"gram_schmidt": True, "side": "output"}),
    refused=sets(
        {"r": 0},
        {"gram_schmidt": "yes"},
        {"gram_schmidt": True, "r": 13},
        {"gram_schmidt": True, "r": 21, "side": "output"},
        {"side": "both"},
        {"eps": 0.0, "side": "output"},
    ),
    deviations=(
        Deviation(
            cases="peft:hra/params/*-odd-rank",
            what="an odd rank raises an error; peft warns and draws random initial values, which are not the identity",
            why="reflections cancel in pairs, so an odd number of them cannot start as the identity",
            link=PEFT_HRA,
            by_default=False,
            scope=True,
            shows=(str(RAISED),),
        ),
        Deviation(
            cases="*:hra/init/*-gram_schmidt",
            what="with gram_schmidt=True the rows of U are drawn one by one, uniform on +-1/sqrt(r); peft and the "
            "authors draw pairs of equal rows",
            why="Gram-Schmidt of a vector and its copy is 0 / 0, which gives NaN or amplified rounding",
            link=PEFT_HRA,
            by_default=False,
            shows=("U: *",),
        ),
    ),
)

ROAD = row(
    "road",
    invariants=ON_CODES,
    has_rank=False,
    options=sets({"kind": "road_2"}, {"kind": "road_4"}, {"group_size": 2}),
    refused=sets({"group_size": 4, "kind": "road_3"}, {"group_size": 3}, {"group_size": 8}),
    deviations=(
        Deviation(
            cases="authors:road/pairing/*-default",
            what="the default group_size=64 pairs output i with output i + 32, as peft does; the authors' code pairs "
            "neighbours (group_size=2)",
            why="adapters trained in peft, whose default is 64, must load here",
            link="https://github.com/BaohaoLiao/pyreft/tree/38dfe268df18bdc19a13fb1af6a7eb49431ac986",
            by_default=True,
            shows=("partner of the first output",),
        ),
    ),
)
