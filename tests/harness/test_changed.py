"""What a change can affect, read out of real git repositories."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.planning.changed import ROOT, Change, Sources, affected, changed_files, since
from subjects.own.roster import ENTRIES

TREE = {
    "variants/__init__.py": "from variants.one import One\n",
    "variants/registry.py": "from variants.one import One\nfrom variants.two import Two\n",
    "variants/one.py": "from variants.runtime.adapter import Adapter\n\n\nclass One(Adapter):\n    name = 'one'\n",
    "variants/two.py": "import variants.shared\nfrom .one import One\n\n\nclass Two(One):\n    name = 'two'\n",
    "variants/three.py": "class Three:\n    name = 'three'\n\n    def f(self):\n        from variants import shared\n",
    "variants/shared.py": "",
    "variants/idle.py": "",
    "variants/runtime/adapter.py": "from variants.registry import One\n",
    "refs/methods/one.py": "from refs.transcriptions import one as authors\nMETHOD = Method(name='one')\n",
    "refs/methods/two.py": "METHOD = Method(name='two')\n",
    "refs/methods/three.py": "from refs.methods import one\nMETHOD = Method(name='three')\n",
    "refs/transcriptions/one.py": "from importlib import import_module\nimport_module('refs.transcriptions.parts')\n",
    "refs/transcriptions/parts.py": "",
    "refs/lock.json": "{}",
    "conformance/judging/judge.py": "",
    "conformance/cost/counts.py": "",
    "pyproject.toml": "",
    "README.md": "",
    "docs/design.md": "",
    "reports/one.md": "",
    "tests/test_one.py": "",
    ".gitignore": "ignored/\n",
}
EVERY = "everything"


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody, whatever the machine's own settings."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def plant(folder: Path) -> Path:
    """The files of ``TREE``."""
    for name, text in TREE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in a git repository of its own, committed."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    folder = plant(tmp_path / "project")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def names(change: Change) -> list[str]:
    """Whom a change affects."""
    return [EVERY] if change.everything else list(change.variants)


@pytest.mark.parametrize(
    ("file", "want"),
    [
        ("variants/one.py", ["one", "two"]),
        ("variants/two.py", ["two"]),
        ("variants/shared.py", ["three", "two"]),
        ("refs/methods/one.py", ["one", "three"]),
        ("refs/methods/two.py", ["two"]),
        ("refs/transcriptions/one.py", ["one", "three"]),
        ("refs/transcriptions/parts.py", ["one", "three"]),
        ("variants/idle.py", [EVERY]),
        ("variants/registry.py", [EVERY]),
        ("variants/__init__.py", [EVERY]),
        ("variants/runtime/adapter.py", [EVERY]),
        ("variants/runtime/new.py", [EVERY]),
        ("variants/gone.py", [EVERY]),
        ("refs/lock.json", [EVERY]),
        ("conformance/judging/judge.py", [EVERY]),
        ("pyproject.toml", [EVERY]),
        ("setup.cfg", [EVERY]),
        ("nested/README.md", [EVERY]),
        ("README.md", []),
        ("docs/design.md", []),
        ("docs/pictures/design.svg", []),
        ("reports/one.md", []),
        ("tests/test_one.py", []),
        ("conformance/cost/counts.py", []),
    ],
)
def test_whom_a_file_affects(tree: Path, file: str, want: list[str]) -> None:
    """A variant would keep a verdict that the change has made wrong."""
    assert names(affected("main", [file], Sources(tree))) == want


def test_several_changes_add_up(tree: Path) -> None:
    """The last file would decide alone."""
    change = affected("main", ["variants/two.py", "docs/design.md", "refs/methods/one.py"], Sources(tree))
    assert dict(change.variants) == {
        "one": ("refs/methods/one.py",),
        "three": ("refs/methods/one.py",),
        "two": ("variants/two.py",),
    }
    assert not change.reports
    assert names(affected("main", ["variants/two.py", "refs/lock.json"], Sources(tree))) == [EVERY]


@pytest.mark.parametrize("how", ["unstaged", "staged", "committed"])
def test_a_change_counts_wherever_it_is(tree: Path, how: str) -> None:
    """A change that is not committed, or already is, would be audited as none."""
    (tree / "variants/two.py").write_text(TREE["variants/two.py"] + "x = 1\n")
    if how != "unstaged":
        git(tree, "add", "-A")
    if how == "committed":
        git(tree, "commit", "-qm", "two")
        assert names(since("HEAD", tree)) == []
    assert names(since("HEAD~1" if how == "committed" else "HEAD", tree)) == ["two"]


def test_files_that_come_go_and_move(tree: Path) -> None:
    """A file that was renamed or removed, or that nobody has added yet, would affect nobody."""
    assert changed_files("main", tree) == ()
    (tree / "ignored").mkdir()
    (tree / "ignored/x.py").touch()
    (tree / "docs/new \N{GREEK SMALL LETTER EPSILON}.md").touch()
    git(tree, "mv", "refs/methods/two.py", "refs/methods/too.py")
    (tree / "variants/shared.py").unlink()
    assert changed_files("main", tree) == (
        "docs/new \N{GREEK SMALL LETTER EPSILON}.md",
        "refs/methods/too.py",
        "refs/methods/two.py",
        "variants/shared.py",
    )
    assert names(since("main", tree)) == [EVERY], "a file that is gone may have been anybody's"


def test_another_branch(tree: Path) -> None:
    """What only the other branch has would not count as a difference from it."""
    git(tree, "checkout", "-qb", "side")
    (tree / "refs/methods/two.py").write_text("METHOD = Method(name='two', more=1)\n")
    git(tree, "commit", "-qam", "side")
    assert names(since("main", tree)) == ["two"]
    git(tree, "checkout", "-q", "main")
    assert names(since("side", tree)) == ["two"]


def test_a_project_below_the_top_of_its_repository(tmp_path: Path, tree: Path) -> None:
    """Paths from the repository's top would match nothing, or everything."""
    shutil.rmtree(tree / ".git")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "other.txt").touch()
    (tree / "variants/two.py").write_text(TREE["variants/two.py"] + "x = 1\n")
    assert changed_files("main", tree) == ("variants/two.py",)


@pytest.mark.parametrize("revision", ["nonsense", "HEAD~9", "--all", "deadbeef", "main:docs", ""])
def test_a_revision_that_is_not_there(tree: Path, revision: str) -> None:
    """A misspelt revision would read as one from which nothing has changed."""
    with pytest.raises(ValueError, match=r"--changed-since: unknown git revision .*\. Fetch it"):
        since(revision, tree)


def test_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported copy of the project would be taken for one that has not changed."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(ValueError, match="is not in a git repository"):
        since("main", plant(tmp_path / "project"))


def test_git_that_is_not_installed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git would audit nothing, and pass."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"--changed-since main: .* is not in a git repository"):
        since("main", tree)


def test_a_file_that_cannot_be_read_as_python(tree: Path) -> None:
    """A syntax error would end in a traceback, and not in the audit that says what is wrong."""
    (tree / "variants/shared.py").write_text("def (:\n")
    assert names(since("main", tree)) == ["three", "two"]
    (tree / "variants/two.py").write_text("def (:\n")
    assert names(since("main", tree)) == [EVERY], "whose file it is cannot be told any more"


def test_the_files_of_every_variant_here_are_found() -> None:
    """A variant of the roster could change without anybody asking for it."""
    sources = Sources(ROOT)
    assert set(sources.variants) == {entry.name for entry in ENTRIES}
    for entry in ENTRIES:
        own, method = sources.variants[entry.name]
        assert entry.location.startswith(f"{own}:")
        assert entry.method is not None
        assert f'name="{entry.method.name}"' in (ROOT / method).read_text()


@pytest.mark.parametrize(
    ("file", "want"),
    [
        ("variants/hra.py", {"hra"}),
        ("variants/lora.py", {"lora", "pissa", "dora", "eva"}),
        ("refs/methods/lora.py", {"lora", "pissa", "dora", "eva"}),
        ("refs/methods/ia3.py", {"ia3", "ia3_ff"}),
        ("refs/transcriptions/hra.py", {"hra"}),
    ],
)
def test_whom_a_file_of_this_project_affects(file: str, want: set[str]) -> None:
    """The imports as they are would not be followed, or everything be taken for connected."""
    assert set(affected("main", [file], Sources(ROOT)).variants) == want


@pytest.mark.parametrize("file", ["variants/svd_family.py", "variants/runtime/attach.py", "subjects/own/roster.py"])
def test_a_shared_file_of_this_project_affects_many(file: str) -> None:
    """What the family shares, or all, would be audited in one of its users only."""
    change = affected("main", [file], Sources(ROOT))
    family = {name for name in Sources(ROOT).variants if name.startswith("antipasto")}
    assert change.everything == ("" if "svd" in file else file)
    assert change.everything or set(change.variants) == family
