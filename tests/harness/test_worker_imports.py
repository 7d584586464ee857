"""What a run of some variants imports before it forks: what the cases need, and no compiler that none of them calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conformance.planning.plan import make_plan
from conformance.running import imports
from conformance.running.imports import WITHOUT, compiling_later, import_for
from subjects.own.roster import ENTRIES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "wanted"), [("lora", ("peft",)), ("antipasto_rot", WITHOUT)])
def test_peft_is_imported_for_its_own_cases(
    name: str, wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker would import it anew, or a variant without a tuner in peft wait for it."""
    asked: list[str] = []
    monkeypatch.setattr(imports, "import_module", asked.append)
    import_for(make_plan(tuple(entry for entry in ENTRIES if entry.name == name)))
    assert tuple(asked) == wanted


def test_what_is_decorated_inside_is_compiled_at_its_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler would be imported all the same; or a function never be compiled, or anew at each call."""
    compiled: list[object] = []

    def compile(function, **options):  # type: ignore[no-untyped-def]
        compiled.append((function.__name__, options))
        return function

    monkeypatch.setattr(torch, "compile", compile)
    with compiling_later():

        @torch.compile(dynamic=False)
        def twice(x: int) -> int:
            return 2 * x

        @torch.compile
        def thrice(x: int) -> int:
            return 3 * x

    assert torch.compile is compile
    assert compiled == []
    assert [twice(2), twice(3), thrice(4)] == [4, 6, 12]
    assert compiled == [("twice", {"dynamic": False}), ("thrice", {})]


def test_an_error_inside_gives_the_compiler_back() -> None:
    """A library that cannot be imported would leave everything after it uncompiled."""
    before = torch.compile
    with pytest.raises(ImportError), compiling_later():
        raise ImportError
    assert torch.compile is before


def test_importing_bitsandbytes_brings_no_compiler() -> None:
    """The second that is saved would be lost again, by another path to the same compiler."""
    pytest.importorskip("bitsandbytes")
    code = (
        "import sys, torch\n"
        "from conformance.running.imports import compiling_later\n"
        "with compiling_later(): import bitsandbytes\n"
        "print('torch._inductor.compile_fx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True, timeout=300
    )
    assert done.stdout.split()[-1] == "False"
