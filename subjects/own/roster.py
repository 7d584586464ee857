"""The audited variants of this repository, in the order of the index. A new variant adds its row here."""

from __future__ import annotations

from conformance.nouns.entry import Library
from subjects.own.antipasto import ABLATE, ANTIPASTO, ARROW, CORDA, ROT
from subjects.own.layerwise import HRA, IA3, IA3_FF, ROAD
from subjects.own.low_rank import DELORA, DORA, EVA, LORA, PISSA

ENTRIES = (LORA, PISSA, DELORA, IA3, IA3_FF, DORA, HRA, EVA, ROAD, ANTIPASTO, ROT, ABLATE, CORDA, ARROW)

LIBRARY = Library("own", ENTRIES)
