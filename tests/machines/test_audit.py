"""One row: what counts as the same bytes, and what does not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from machines import audit
from machines.audit import Outcome, Tree
from machines.machine import Allowed, Machine, Place
from machines.preparations import no_git
from tests.machines.conftest import git

CAUSE = "The toy renders another byte there, which is no property of the code under audit."


def machine(toy: str = "", **more: object) -> Machine:
    """A machine on which the toy audit does something."""
    return Machine("toy", "a toy", {"TOY": toy}, **more)  # type: ignore[arg-type]


def test_same_bytes_are_a_pass(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """No machine could ever pass."""
    result = audit.run(machine(), tree, tmp_path / "out", audit=toy)
    assert (result.outcome, result.files, str(result)) == (Outcome.SAME, (), "same bytes")
    assert not (tmp_path / "out" / "toy.diff").exists()


@pytest.mark.parametrize(
    ("toy_does", "files"),
    [
        ("another-byte", ("two.md",)),
        ("one-more", ("three.md",)),
        ("one-less", ("one.md",)),
        ("two-cards", ("one.md", "two.md")),
    ],
)
def test_a_machine_that_changes_a_card_differs(
    toy_does: str, files: tuple[str, ...], tree: Tree, toy: tuple[str, ...], tmp_path: Path
) -> None:
    """A verdict that depends on the machine would be called the same."""
    result = audit.run(machine(toy_does), tree, tmp_path, audit=toy)
    assert (result.outcome, result.files) == (Outcome.DIFFERS, files)
    diff = (tmp_path / "toy.diff").read_text(encoding="utf-8")
    assert all(f"committed/{name}" in diff for name in files)
    assert all(name in str(result) for name in files)


@pytest.mark.parametrize("toy_does", ["ends-at-once-0", "ends-at-once-1", "ends-at-once-2", "status-3", "signal"])
def test_a_run_that_failed_is_not_the_same(toy_does: str, tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """An audit that did nothing leaves the committed bytes where they are, and would pass on every machine."""
    result = audit.run(machine(toy_does), tree, tmp_path, audit=toy)
    assert result.outcome is Outcome.FAILED
    assert "status" in result.why


def test_a_closed_gate_over_the_same_bytes_is_no_pass(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """What closed the gate would not be seen."""
    result = audit.run(machine("closed"), tree, tmp_path, audit=toy)
    assert result.outcome is Outcome.FAILED
    assert "GATE: closed" in result.why


def test_an_audit_that_hangs_is_ended_with_its_workers(tree: Tree, tmp_path: Path) -> None:
    """It would go on in the background and take the cores from the next machine."""
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    result = audit.run(machine(), tree, tmp_path, audit=(sys.executable, "-c", code), limit=3)
    assert (result.outcome, result.why) == (Outcome.FAILED, "it took longer than 3 s")
    worker = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _runs(worker):
            return
        time.sleep(0.05)
    pytest.fail("the worker still runs")


def _runs(pid: int) -> bool:
    """Whether there is such a process and it is not just waiting to be collected."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_exception_covers_its_machine_and_its_files_alone(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """One exception would let every other difference through."""

    def outcome(toy_does: str, *allowed: Allowed) -> Outcome:
        return audit.run(machine(toy_does), tree, tmp_path, allowed=allowed, audit=toy).outcome

    assert outcome("another-byte", Allowed("toy", ("two.md",), CAUSE)) is Outcome.ALLOWED
    assert outcome("another-byte", Allowed("other", ("two.md",), CAUSE)) is Outcome.DIFFERS
    assert outcome("another-byte", Allowed("toy", ("one.md",), CAUSE)) is Outcome.DIFFERS
    assert outcome("two-cards", Allowed("toy", ("two.md",), CAUSE)) is Outcome.DIFFERS
    assert outcome("ends-at-once-1", Allowed("toy", ("two.md",), CAUSE)) is Outcome.FAILED


@pytest.mark.parametrize(("files", "cause"), [((), CAUSE), (("two.md",), ""), (("two.md",), "differs on AMD")])
def test_an_exception_needs_files_and_a_cause(files: tuple[str, ...], cause: str) -> None:
    """A difference could be waved through without having been understood."""
    with pytest.raises(ValueError, match="want"):
        Allowed("toy", files, cause)


def test_a_machine_that_is_not_what_it_says_could_not_run(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """A variable that the library no longer knows would give the same bytes for ever."""
    result = audit.run(machine(witness="folder", want="elsewhere"), tree, tmp_path, audit=toy)
    assert result.outcome is Outcome.COULD_NOT_RUN
    assert "folder is 'checkout', want 'elsewhere'" in result.why
    assert audit.run(machine(witness="folder", want="checkout"), tree, tmp_path, audit=toy).outcome is Outcome.SAME


def test_a_machine_whose_processes_do_not_start_could_not_run(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """Python goes on after an error in a sitecustomize: the audit would run on the computer as it is."""
    result = audit.run(machine(hook="of_no_such_name"), tree, tmp_path, audit=toy)
    assert result.outcome is Outcome.COULD_NOT_RUN
    assert "of_no_such_name" in result.why


def test_a_hook_reaches_the_processes_of_the_audit(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """The process that is looked at would be emulated, and the workers that decide the verdicts would not."""
    hooked = machine(hook="locale_of_environment")
    assert audit.run(hooked, tree, tmp_path, audit=toy).outcome is Outcome.SAME
    isolated = (sys.executable, "-E", *toy[1:])
    result = audit.run(hooked, tree, tmp_path, audit=isolated)
    assert (result.outcome, "hook did not reach" in result.why) == (Outcome.FAILED, True)


def test_a_suite_of_another_place_is_not_audited(
    tree: Tree, toy: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy would be rendered by code that is not in it."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONPATH", str(tree.root))
    result = audit.run(machine(), tree, tmp_path, audit=toy)
    assert (result.outcome, "not from the copy" in result.why) == (Outcome.COULD_NOT_RUN, True)


def test_the_checkout_itself_is_left_alone(tree: Tree, toy: tuple[str, ...], tmp_path: Path) -> None:
    """A machine's cards would overwrite the committed ones, and edits that nobody committed would be audited."""
    (tree.root / "reports" / "one.md").write_text("an edit\n")
    assert audit.run(machine("two-cards"), tree, tmp_path, audit=toy).files == ("one.md", "two.md")
    assert (tree.root / "reports" / "one.md").read_text() == "an edit\n"
    assert (tree.root / "reports" / "two.md").read_text() == "two\n"
    assert audit.run(machine(), tree, tmp_path, audit=toy).outcome is Outcome.SAME


def test_variables_of_a_git_hook_stay_out(
    tree: Tree, toy: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started from a hook of git, every copy would be the repository that the hook belongs to."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert audit.run(machine("another-byte"), tree, tmp_path, audit=toy).files == ("two.md",)


def test_a_shallow_copy_has_one_commit(root: Path, toy: tuple[str, ...], tmp_path: Path) -> None:
    """The row would stand for a clone that it is not; also of a commit that no branch points at."""
    for revision in ("HEAD", "HEAD~0"):
        tree = Tree.at(root, revision)
        shallow = machine(shallow=True, witness="history", want="one commit")
        assert audit.run(shallow, tree, tmp_path, audit=toy).outcome is Outcome.SAME
        assert audit.run(machine(witness="history", want="more commits"), tree, tmp_path, audit=toy).why == ""
    git(root, "checkout", "-q", "--detach")
    git(root, "commit", "-q", "--allow-empty", "-m", "Aside")
    aside = Tree.at(root, "HEAD")
    git(root, "checkout", "-q", "-")
    assert audit.run(machine(shallow=True), aside, tmp_path, audit=toy).outcome is Outcome.SAME


@pytest.mark.skipif(os.name != "posix", reason="a folder of links")
def test_without_git_the_rest_of_the_path_is_there(tmp_path: Path) -> None:
    """The audit would miss its other tools, and the row would tell of them."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("git", "git-lfs", "other"):
        (tools / name).touch(mode=0o755)
    place = Place(tmp_path, tmp_path / "checkout", {"PATH": f"{tools}{os.pathsep}{tmp_path / 'none'}"})
    no_git(place)
    assert [path.name for path in Path(place.environment["PATH"]).iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("toy_does", "outcome"),
    [("", Outcome.PASSED), ("another-byte", Outcome.FAILED), ("ends-at-once-5", Outcome.FAILED)],
)
def test_tests_pass_by_their_status(
    toy_does: str, outcome: Outcome, tree: Tree, toy: tuple[str, ...], tmp_path: Path
) -> None:
    """Tests that failed, or of which none was found, would pass because the reports are the committed ones."""
    assert audit.run(machine(toy_does), tree, tmp_path, audit=toy, tests=True).outcome is outcome
