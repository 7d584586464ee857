"""The lock: which changes of a reference's source are none, which are minor, and which make it another reference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from refs import lock
from refs.lock import Drift, read_lock, sha, source_of
from refs.locking import make_lock
from refs.reference import Live
from refs.registry import METHODS

SOURCE = '''
import math


class Layer:
    """A layer."""

    def forward(self, x, *, scale=None):
        """Scaled."""
        if scale is None:
            return x
        return x * math.sqrt(scale)  # the root
'''
FORWARD = "pkg/layer.py::Layer.forward"
LAYER = "pkg/layer.py::Layer"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with one file, whose path is handed out."""
    name = "locked_toy"
    file = tmp_path / name / "layer.py"
    file.parent.mkdir()
    (file.parent / "__init__.py").write_text("raise RuntimeError('the lock must not import what it reads')\n")
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


def locked(*objects: str) -> dict[str, dict[str, dict[str, str]]]:
    """The lock of objects in ``SOURCE``."""
    entries = {}
    for name in objects:
        found = source_of(SOURCE, name.partition("::")[2])
        assert found is not None
        key = name.replace("pkg", "locked_toy")
        entries[key] = {"sha256": sha(found.text), "meaning_sha256": sha(found.meaning)}
    return {"objects": entries}


def drift(package: Path, source: str, name: str = FORWARD) -> Drift:
    """What the lock says once the source is another."""
    package.write_text(source)
    return lock.check(name.replace("pkg", "locked_toy"), locked(FORWARD, LAYER)).drift


@pytest.mark.parametrize("name", [FORWARD, LAYER])
def test_the_locked_source_has_not_drifted(package: Path, name: str) -> None:
    """Every reference would look changed."""
    found = lock.check(name.replace("pkg", "locked_toy"), locked(FORWARD, LAYER))
    assert (found.drift, found.reason) == (Drift.NONE, "")
    assert SOURCE.splitlines()[found.line - 1].strip().startswith(("def forward", "class Layer"))


def test_a_change_elsewhere_in_the_file(package: Path) -> None:
    """Every release of the reference would look like a change of the one object."""
    assert drift(package, SOURCE.replace("import math", "import math\nimport os") + "\n\nx = 1\n") is Drift.NONE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # the root", ""),
        ("  # the root", "  # another comment"),
        ('"""Scaled."""', '"""Scaled by the root."""'),
        ('        """Scaled."""\n', ""),
        ("x * math.sqrt(scale)", "(x * math.sqrt(\n            scale))"),
        ("scale=None", "scale = None"),
    ],
)
@pytest.mark.parametrize("name", [FORWARD, LAYER])
def test_a_change_of_the_wording_only(package: Path, old: str, new: str, name: str) -> None:
    """A reworded comment would cost every verdict, or a change of the code would hide among such."""
    assert old in SOURCE
    assert drift(package, SOURCE.replace(old, new), name) is Drift.MINOR


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("math.sqrt(scale)", "scale"),
        ("x * math", "x / math"),
        ("scale is None", "scale is not None"),
        ("scale=None", "scale=1"),
        ("self, x, *, scale", "self, x, scale"),
        ("return x\n", "return 'x'\n"),
        ("return x\n", "return None\n"),
        ("    def forward", "    @staticmethod\n    def forward"),
    ],
)
@pytest.mark.parametrize("name", [FORWARD, LAYER])
def test_a_change_of_the_code(package: Path, old: str, new: str, name: str) -> None:
    """Another reference would pass for the locked one."""
    assert old in SOURCE
    assert drift(package, SOURCE.replace(old, new), name) is Drift.MAJOR


def test_a_later_definition_replaces_an_earlier_one(package: Path) -> None:
    """The lock would hold an overload's stub, or what a second definition has replaced."""
    again = SOURCE + "\n    def forward(self, x):\n        return x\n"
    assert drift(package, again) is Drift.MAJOR
    stub = SOURCE.replace("    def forward", "    @overload\n    def forward(self, x): ...\n\n    def forward")
    assert drift(package, stub) is Drift.NONE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("locked_toy/layer.py::Layer.backward", "not found in the installed package"),
        ("locked_toy/layer.py::Loyer.forward", "not found in the installed package"),
        ("locked_toy/gone.py::Layer.forward", "not found in the installed package"),
        ("no_such_package/layer.py::Layer.forward", "not found in the installed package"),
    ],
)
def test_an_object_that_is_not_there(package: Path, name: str, reason: str) -> None:
    """A reference that is gone, or not installed, would not be missed."""
    found = lock.check(name, locked(FORWARD))
    assert (found.drift, found.reason, found.line) == (Drift.MAJOR, reason, 0)
    with pytest.raises((LookupError, KeyError)):
        make_lock((name,))


def test_an_object_that_the_lock_does_not_know(package: Path) -> None:
    """A reference could be added without anybody having said what it is."""
    found = lock.check("locked_toy/layer.py::Layer", locked(FORWARD))
    assert (found.drift, found.reason) == (Drift.MAJOR, "not in refs/lock.json")


def test_nothing_is_imported_to_look(package: Path) -> None:
    """The lock would run the code that it is to vouch for."""
    lock.check("locked_toy/layer.py::Layer", locked(LAYER))
    assert "locked_toy" not in sys.modules


def test_the_committed_lock_is_that_of_the_installed_references() -> None:
    """The lock file would be out of date, or hold what nobody refers to."""
    # In a process of its own: what is seen to run does not depend on what ran before.
    told = "import json; from refs.locking import current; print(json.dumps(current()))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == read_lock()


@pytest.mark.parametrize(
    "name",
    [
        "peft/tuners/lora/model.py::LoraModel._create_and_replace",
        "peft/tuners/lora/config.py::LoraConfig",
        "peft/tuners/tuners_utils.py::BaseTuner.inject_adapter",
        "peft/utils/integrations.py::dequantize_module_weight",
        "peft/tuners/lora/eva.py::initialize_lora_eva_weights",
    ],
)
def test_what_numbers_pass_through_is_locked(name: str) -> None:
    """peft could change on the way to the layer that is named, and the lock would not see it."""
    assert name in read_lock()["objects"]
    assert any(name in traced for traced in read_lock()["traced"].values())


def test_a_traced_function_drifts() -> None:
    """What was only seen to run could change, and the card would call the reference the locked one."""
    lora = next(method.references[0] for method in METHODS if method.name == "lora")
    assert isinstance(lora, Live)
    known = read_lock()
    name = "peft/tuners/lora/model.py::LoraModel._create_and_replace"
    assert name not in lora.objects
    assert name in lock.objects_of(lora.id, lora.objects, known)
    known["objects"][name] = {"sha256": "", "meaning_sha256": ""}
    assert lock.check(name, known).drift is Drift.MAJOR


def test_no_locked_object_is_a_stub() -> None:
    """The lock would vouch for a declaration and not for the code behind it."""
    for name in read_lock()["objects"]:
        found = lock.locate(name)
        assert found is not None
        assert "@overload" not in found.text, name
