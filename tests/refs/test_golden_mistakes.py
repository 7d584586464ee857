"""The golden vectors refuse what is wrong: a transcription with one mistake does not reproduce them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mistake import Mistake
from mistaken_authors import AUTHORS
from mistaken_layers import LAYERS
from mistaken_starts import STARTS

from refs.golden_vectors import vectors


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    """Identity matrices in the wrong formulas are of the dtype that everything is recomputed in."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mistake", [*LAYERS, *STARTS, *AUTHORS], ids=lambda mistake: mistake.name)
def test_a_mistake_is_refused(mistake: Mistake) -> None:
    """Else the vectors would vouch for a transcription with this mistake."""
    refuting = [v for v in vectors() if mistake.refuted_by(v)]
    assert refuting, f"{mistake.name}: no vector could refute it"
    accepted = [v.file for v in refuting if all(d.reproduced for d in mistake.run(v))]
    assert not accepted, f"{mistake.name} reproduces {len(accepted)} of {len(refuting)}: {accepted}"


def test_mistakes_have_names_of_their_own() -> None:
    """Else one mistake's test would hide another's."""
    names = [mistake.name for mistake in (*LAYERS, *STARTS, *AUTHORS)]
    assert len(set(names)) == len(names)
