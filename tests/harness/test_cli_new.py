"""``conformance new``: what it writes is in order and registered, and what it refuses changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.checks.registry import CHECKS
from conformance.commands.new import GROUPS, new_check
from conformance.planning.edits import Edits, require_free
from conformance.planning.names import BadRequest
from subjects.own.names import listed
from subjects.own.new_variant import new_variant, peft_facts

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
COPIED = ("variants", "refs", "subjects", "conformance", "proof", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is written to."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "golden")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def python(root: Path, *arguments: str) -> str:
    """What a Python that imports from there prints."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-P", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean(root: Path) -> None:
    """The linter and the formatter are content."""
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(["ruff", *command, "."], cwd=root, capture_output=True, text=True, check=False, env=PATH)
        assert done.returncode == 0, done.stdout


PATH = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
USE = """
import torch
from torch import nn
from variants import Targets, attach, config_for, detach, load, save
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 4))
x = torch.randn(5, 6)
want = model(x)
attach(model, config_for({name!r}, r=2, targets=Targets(include=("0",))))
assert torch.equal(model(x), want)
model(x).sum().backward()
save(model, "adapter.safetensors"); detach(model); load(model, "adapter.safetensors")
from subjects.own.roster import ENTRIES
from conformance.planning.plan import make_plan
from refs.registry import METHODS
assert [m.name for m in METHODS].count({name!r}) == 1
print(ENTRIES[-1].name, len(make_plan(ENTRIES[-1:])) > 50)
"""


@pytest.mark.parametrize(("name", "class_name", "exchange"), [("loha", "LoHa", True), ("my_own", None, False)])
def test_a_variant_runs_and_is_registered(checkout: Path, name: str, class_name: str | None, exchange: bool) -> None:
    """Whoever starts a variant would first have to repair what was written."""
    before = files(checkout)
    written, todo = new_variant(name, class_name, root=checkout)
    changed = {file for file, text in files(checkout).items() if before.get(file) != text}
    assert set(written) == changed
    assert {f"variants/{name}.py", f"refs/methods/{name}.py", "subjects/own/roster.py"} < changed
    assert (f"variants/exchange/peft_{name}.py" in changed) is exchange
    assert f"variants/{name}.py" in todo
    assert [known for known, _ in listed(checkout)][-1] == name
    clean(checkout)
    assert python(checkout, "-c", USE.format(name=name)).split() == [name, "True"]
    assert f"variants/{name}.py:" in python(checkout, "-m", "conformance", "list")


@pytest.mark.parametrize("group", GROUPS)
def test_a_check_is_registered_and_asks_nothing_yet(checkout: Path, group: str) -> None:
    """A check that nobody has written yet would change every verdict, or not be found."""
    written, _ = new_check("smoothness", group, root=checkout)
    assert f"conformance/checks/{group}/smoothness.py" in written
    program = (
        "from conformance.checks.registry import CHECKS\n"
        "from conformance.planning.plan import make_plan\n"
        "from conformance.reporting.view import SECTIONS\n"
        "from subjects.own.low_rank import LORA\n"
        "print(CHECKS[-1].name, len(CHECKS), len(make_plan((LORA,), CHECKS[-1:])),"
        " [s for s, checks in SECTIONS if 'smoothness' in checks])\n"
    )
    told = python(checkout, "-c", program).split(maxsplit=3)
    assert told == ["smoothness", str(len(CHECKS) + 1), "0", f"['{GROUPS[group]}']\n"]
    clean(checkout)


@pytest.mark.slow
def test_the_test_of_a_new_check_fails_until_it_is_filled_in(checkout: Path) -> None:
    """A check could stay empty without anybody noticing."""
    new_check("smoothness", "numbers", root=checkout)
    test = "tests/harness/test_check_smoothness.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=.", test]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}

    def told() -> str:
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    assert "2 failed, 1 passed" in told()
    check = checkout / "conformance/checks/numbers/smoothness.py"
    text = check.read_text().replace("return ()", "return (SMALL,) if isinstance(reference, Built) else ()")
    text = text.replace("import Reference", "import Built, Reference")
    check.write_text(
        text.replace(
            "from conformance.measuring.comp",
            "from conformance.checks.check import SMALL\nfrom conformance.measuring.comp",
        )
    )
    assert "1 failed, 2 passed" in told()
    wrong = checkout / test
    wrong.write_text(
        wrong.read_text().replace(
            'right, so the test below fails."""', '"""\n\n    def change_output(self, layer, x, y):\n        return y\n'
        )
    )
    assert "3 passed" in told()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "lora",
            "LoHa",
            "lo-ha",
            "lo ha",
            "",
            "_loha",
            "loha_",
            "lo__ha",
            "1loha",
            "class",
            "match",
            "../loha",
            "lohä",
        ),
        *("registry", "svd_family", "exchange", "runtime", "entries", "library", "adapter", "pisSA"),
    ],
)
def test_a_name_that_no_variant_can_have(checkout: Path, name: str) -> None:
    """Half a variant would be registered, or another one's file be overwritten."""
    before = files(checkout)
    with pytest.raises(BadRequest, match=r"got .*want|is a (variant|check) .* already"):
        new_variant(name, root=checkout)
    assert files(checkout) == before


@pytest.mark.parametrize("class_name", ["LoRA", "Adapter", "loHa", "Lo-Ha", "Any"])
def test_a_class_that_no_variant_can_have(checkout: Path, class_name: str) -> None:
    """A registry would name two things by one name."""
    before = files(checkout)
    with pytest.raises(BadRequest, match=r"got .*want|is a (variant|check) .* already"):
        new_variant("loha", class_name, root=checkout)
    assert files(checkout) == before


@pytest.mark.parametrize("name", ["forward", "For", "a-b", "", "lambda", "../x"])
def test_a_name_that_no_check_can_have(checkout: Path, name: str) -> None:
    """Another check would be overwritten."""
    before = files(checkout)
    with pytest.raises(BadRequest, match=r"got .*want|is a (variant|check) .* already"):
        new_check(name, "numbers", root=checkout)
    assert files(checkout) == before


@pytest.mark.parametrize("lost", ["variants/registry.py", "subjects/own/low_rank.py", "refs/registry.py"])
def test_a_checkout_that_lacks_a_registry(checkout: Path, lost: str) -> None:
    """A variant would be written that is known in some places only."""
    (checkout / lost).unlink()
    before = files(checkout)
    with pytest.raises((BadRequest, OSError)):
        new_variant("loha", root=checkout)
    assert files(checkout) == before


def test_a_disk_that_is_full(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first files would be there, and the registries be without them."""
    before, real, written = files(checkout), Path.write_text, []

    def write(self: Path, text: str, **more: str) -> int:
        written.append(self.name)
        if len(written) == 5:
            real(self, text[:10], **more)  # type: ignore[arg-type]
            raise OSError("no space left")
        return real(self, text, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(OSError, match="no space"):
        new_variant("loha", root=checkout)
    assert files(checkout) == before


def test_what_peft_says_of_a_method() -> None:
    """The starter would name tensors or settings that peft does not have."""
    facts = peft_facts("loha")
    assert facts is not None
    assert (facts.config, facts.peft_type) == ("LoHaConfig", "LOHA")
    assert "peft/tuners/loha/layer.py::Linear" in facts.objects
    assert facts.tensors[:2] == ("hada_w1_a", "hada_w1_b")
    assert ("rank_dropout", "0.0") in facts.settings
    assert peft_facts("no_such_method") is None


def test_lines_go_where_they_belong(tmp_path: Path) -> None:
    """An import or an element would be out of order, or be added twice."""
    file = tmp_path / "a.py"
    file.write_text("from p.a import A\nfrom p.c import C\n\nONE = (A, C)\nMANY = [\n    A,\n    C,\n]\n")
    edits = Edits(tmp_path)
    for _ in range(2):
        edits.add_import("a.py", "from p.b import B")
    edits.add_import("a.py", "from p.c import B2")
    edits.add_to("a.py", "ONE", "B")
    edits.add_to("a.py", "MANY", "B", ordered=True)
    assert file.read_text().startswith("from p.a import A\nfrom p.c")  # nothing is written before it is asked for
    edits.write()
    assert file.read_text() == (
        "from p.a import A\nfrom p.b import B\nfrom p.c import B2, C\n\nONE = (A, C, B)\n"
        "MANY = [\n    A,\n    B,\n    C,\n]\n"
    )
    with pytest.raises(BadRequest, match="no list NONE"):
        edits.add_to("a.py", "NONE", "B")
    with pytest.raises(BadRequest, match="already means something"):
        edits.require_unbound("a.py", "C")
    require_free("fresh", ("taken",), "variant")
