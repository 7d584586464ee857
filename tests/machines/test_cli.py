"""The command: which rows, the table, the exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from machines import cli, registry, table
from machines.audit import HOOKS_FOLDER, Outcome, Result
from machines.cli import main
from machines.machine import Allowed, Machine, together
from machines.registry import EXCEPTIONS, MACHINES, SHORT, choose
from machines.witnesses import WITNESSES
from tests.machines.conftest import git

NAMES = [machine.name for machine in MACHINES]


def test_an_unknown_row_says_what_was_meant(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error would run nothing and pass."""
    assert main(["aten-avx22"], root=root) == 2
    said = capsys.readouterr().err
    assert "'aten-avx22'" in said
    assert "Did you mean aten-avx2" in said
    assert not (root / ".conformance").exists()


def test_the_table_names_what_ran_what_differs_and_what_was_not_asked(
    root: Path, toy: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody could tell from the table what is shown, or two runs would give two texts."""
    monkeypatch.setattr(registry, "MACHINES", _toys())
    monkeypatch.setattr("machines.cli.MACHINES", _toys())
    texts = []
    for _ in range(2):
        assert main(["plain", "turned", "elsewhere"], root=root, command=toy) == 1
        texts.append((root / ".conformance" / "machines.md").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert "| plain | a toy | same bytes |" in texts[0]
    assert "| turned | a toy | 1 file differs: two.md |" in texts[0]
    assert "| elsewhere | a toy | could not run: the emulation does not take here" in texts[0]
    assert "3 machines: 1 same bytes, 1 differs, 1 could not run. Nothing is shown for elsewhere." in texts[0]
    assert "Not asked for: idle." in texts[0]
    assert capsys.readouterr().out.count("turned ") == 2
    assert (root / ".conformance" / "machines" / "turned.diff").is_file()


def test_rows_run_one_at_a_time_make_one_table_of_one_commit(
    root: Path, toy: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole table would need hours in one piece, or would mix what was seen on two commits."""
    monkeypatch.setattr(registry, "MACHINES", _toys())
    monkeypatch.setattr("machines.cli.MACHINES", _toys())
    page, table_file = root / cli.PAGE, root / ".conformance" / "machines.md"
    assert main(["turned"], root=root, command=toy) == 1
    assert main(["plain", "--record"], root=root, command=toy) == 0
    assert page.read_text(encoding="utf-8") == table_file.read_text(encoding="utf-8")
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if "| a toy |" in line]
    assert rows == ["| plain | a toy | same bytes |", "| turned | a toy | 1 file differs: two.md |"]
    assert main(["turned+idle"], root=root, command=toy) == 1
    assert main(["plain"], root=root, command=toy) == 0
    assert "| turned+idle | a toy; a toy |" in table_file.read_text(encoding="utf-8")  # kept, too
    (root / ".conformance" / "machines" / "results.json").write_text("{", encoding="utf-8")  # cut off: counts as none
    assert main(["turned"], root=root, command=toy) == 1
    assert "| plain |" not in table_file.read_text(encoding="utf-8")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "Go on")
    main(["plain"], root=root, command=toy)
    assert "| turned |" not in table_file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("row", "status"), [("plain", 0), ("turned", 1), ("elsewhere", 1), ("failing", 1), ("allowed", 0)]
)
def test_the_exit_status_of_one_row(
    row: str, status: int, root: Path, toy: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI would go on over a difference, or where nothing was shown."""
    monkeypatch.setattr(registry, "MACHINES", _toys("failing", "allowed"))
    cause = "The toy renders another byte, as it was told to."
    monkeypatch.setattr("machines.cli.EXCEPTIONS", (Allowed("allowed", ("two.md",), cause),))
    assert main([row], root=root, command=toy) == status


def _toys(*more: str) -> tuple[Machine, ...]:
    does = {"turned": "another-byte", "failing": "ends-at-once-0", "allowed": "another-byte"}
    plain = [
        Machine(name, "a toy", {"TOY": does[name]} if name in does else {})
        for name in ("plain", "turned", "idle", *more)
    ]
    return (*plain, Machine("elsewhere", "a toy", witness="folder", want="elsewhere"))


def test_outside_git_and_without_reports_it_says_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stack trace, or an empty comparison that passes."""
    (tmp_path / "plain").mkdir()
    assert main(["as-it-is"], root=tmp_path / "plain") == 2
    assert main(["as-it-is", "--at", "no-such"], root=root) == 2
    assert main(["as-it-is", "--at", "HEAD~1"], root=root) == 2
    said = capsys.readouterr().err
    assert "git checkout" in said
    assert "committed reports" in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_ends_the_audit_with_the_command(root: Path, tmp_path: Path) -> None:
    """A job that a CI runner cancels would leave an audit that goes on."""
    pid = tmp_path / "pid"
    audit = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import sys\nfrom pathlib import Path\nfrom machines.cli import end_on_signals, main\nend_on_signals()\n"
        f"sys.exit(main(['as-it-is'], root=Path({str(root)!r}), command=(sys.executable, '-c', {audit!r})))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=cli.ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.terminate()
    assert (child.wait(timeout=30), b"interrupted" in child.communicate()[1]) == (130, True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_uncommitted_changes_are_named(root: Path, toy: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever edits and runs this would take HEAD's result for that of the edit."""
    (root / "new.py").write_text("")
    assert main(["as-it-is"], root=root, command=toy) == 0
    assert "1 uncommitted change" in capsys.readouterr().err


def test_an_exception_that_is_not_needed_is_named() -> None:
    """Exceptions would outlive their cause."""
    allowed = Allowed("plain", ("two.md",), "The toy rendered another byte once, long ago.")
    same = Result(MACHINES[0], Outcome.SAME)
    plain = Result(Machine("plain", "a toy"), Outcome.SAME)
    assert table.needless([same], [allowed]) == []
    assert table.needless([same, plain], [allowed]) == ["plain"]


def test_the_registry_is_whole() -> None:
    """A row would name a hook, a witness or a machine that does not exist, or shadow another."""
    assert len({*NAMES}) == len(NAMES)
    assert {name for row in SHORT for name in row} <= {*NAMES}
    assert {allowed.machine for allowed in EXCEPTIONS} <= {*NAMES}
    hooks = {path.stem for path in HOOKS_FOLDER.glob("*.py")} - {"__init__"}
    assert {machine.hook for machine in MACHINES} - {""} == hooks
    assert {machine.witness for machine in MACHINES} - {""} <= {witness.__name__ for witness in WITNESSES}


def test_machines_emulated_at_once_keep_all_that_makes_each() -> None:
    """CI would ask one of two machines, and say that it had asked both."""
    for row, both in zip(SHORT, choose([], short=True), strict=True):
        parts = choose(list(row))
        assert both.environment == {key: value for part in parts for key, value in part.environment.items()}
        assert {*both.hook.split(",")} - {""} == {part.hook for part in parts} - {""}
        assert {*both.witnesses} == {(part.witness, part.want) for part in parts}
    with pytest.raises(ValueError, match="aten-avx2 sets ATEN_CPU_CAPABILITY to 'avx2', another to 'default'"):
        together(*choose(["aten-default", "aten-avx2"]))
    with pytest.raises(ValueError, match="no-git and shallow, each of which needs a place of its own"):
        together(*choose(["no-git", "shallow"]))
    (placed,) = choose(["threads-1+workers-3+flush-denormal"])
    assert placed.arguments == ("--workers", "3")
    assert placed.hook == "flush_denormal"
    assert placed.environment["OMP_NUM_THREADS"] == "1"


def test_every_emulation_is_looked_at() -> None:
    """A row without a witness could be the computer as it is under another name."""
    assert [machine.name for machine in MACHINES if not machine.witness] == ["as-it-is", "workers-1", "workers-3"]


def test_rows_are_chosen_in_the_order_of_the_registry() -> None:
    """The table would change with the order of the words."""
    assert [machine.name for machine in choose(["shallow", "as-it-is"])] == ["as-it-is", "shallow"]
    assert [machine.name for machine in choose([], short=True)] == ["+".join(row) for row in SHORT]
    assert [machine.name for machine in choose([])] == NAMES
    assert [machine.name for machine in choose(["no-git+threads-1", "shallow"])] == ["shallow", "no-git+threads-1"]
    with pytest.raises(ValueError, match="got machine 'threads-9'"):
        choose(["no-git+threads-9"])


def test_the_tool_and_the_suite_do_not_import_each_other() -> None:
    """The process that compares would load the copy's code, or what is audited could know that it is."""
    ours = {path: path.read_text(encoding="utf-8") for path in (cli.ROOT / "machines").rglob("*.py")}
    suite = {
        path: path.read_text(encoding="utf-8")
        for folder in ("conformance", "variants", "refs", "subjects", "proof")
        for path in (cli.ROOT / folder).rglob("*.py")
    }
    assert len(ours) > 10
    assert len(suite) > 50
    theirs = r"^\s*(from|import) (conformance|variants|refs|subjects|proof|tests)\b"
    assert [path for path, text in ours.items() if re.search(theirs, text, re.MULTILINE)] == []
    assert [
        path for path, text in suite.items() if re.search(r"^\s*(from|import) machines\b|MACHINE_", text, re.M)
    ] == []
