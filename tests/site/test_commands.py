"""``report``, ``explain``, ``diff``, ``history``, ``completion`` and ``--json``, as they are typed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conformance.cli import COMMANDS, _parser, main
from conformance.nouns.finding import Finding
from conformance.planning.revisions import git
from conformance.reporting.over_time.changes import changes
from conformance.running import collect
from conformance.running.background import Progress
from conformance.running.evidence import Evidence, last, write
from subjects.own.names import listed

ROOT = Path(__file__).parents[2]
BOTH = "tests.harness.toys:BOTH"
CASE = "shifted/peft:gate/forward/perturbed-f64-in12-out20-r4-alpha6-bias-batch5"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder outside git to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def evidence(here: Path, findings: dict[str, Finding]) -> Path:
    """The file that a run would have left, of a run with a name."""
    file = here / ".conformance" / "evidence.jsonl"
    write(file, findings.values(), nonce="abc", environment={"platform": "Linux"})
    return file


def test_report_writes_everything_that_is_asked_for(
    evidence: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option would be accepted and do nothing; or a wrong variant end with status 0."""
    asked = ["--html", "site", "--junit", "j/j.xml", "--sarif", "s.sarif", "--badges", "b", "--summary", "sum.md"]
    assert main(["report", "--entries", BOTH, "--annotations", *asked]) == 1
    for file in ("site/index.html", "site/tests/shifted.html", "j/j.xml", "s.sarif", "b/sound.svg", "sum.md"):
        assert (here / file).stat().st_size > 100, file
    out = capsys.readouterr().out
    assert out.count("::error ") > 0
    assert all(line.startswith("::") for line in out.splitlines())
    before = {path: path.read_bytes() for path in (here / "site").rglob("*.*")}
    assert main(["report", "--entries", BOTH, "--html", "site"]) == 1
    assert {path: path.read_bytes() for path in (here / "site").rglob("*.*")} == before


def test_a_second_library_has_its_own_pages(evidence: Path, here: Path) -> None:
    """Third-party subjects could be audited and not be shown."""
    other = here / "other.jsonl"
    shutil.copy(evidence, other)
    (here / "others.py").write_text(
        "from conformance.nouns.entry import Library\n"
        "from tests.harness.toys import SOUND\n"
        "L = Library('others', (SOUND,))\n",
        encoding="utf-8",
    )
    assert main(["report", "--entries", BOTH, "--html", "site", "--also", str(other), "others:L"]) == 1
    assert (here / "site" / "others" / "sound.html").is_file()
    assert "<option>others</option>" in (here / "site" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report"], "got nothing to write, want one of --html"),
        (["report", "--html", "site"], "got no .conformance/evidence.jsonl, want the evidence of a run"),
        (["report", "--junit", "x", "--also", "a", "b:c"], "--also: got no --html"),
        (["explain", "lora"], "explain: got 'lora', want VARIANT/REFERENCE/CHECK/CONFIGURATION"),
        (["explain", "lorra/peft:lora/forward/x"], "Did you mean 'lora'?"),
        (["history"], "history: got no committed results"),
        (["diff", "HEAD~1"], "diff: --against HEAD~1: "),
        (["audit", "lora", "--case", CASE, "--json"], "--json: got --case, too"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_before_anything_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """A typing error would cost the minutes of an import, a traceback, or half a site."""
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_evidence_that_is_not_whole_is_no_proof(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed would look like one that ended."""
    lines = evidence.read_text(encoding="utf-8").splitlines(keepends=True)
    evidence.write_text("".join(lines[:-1]), encoding="utf-8")
    assert main(["report", "--entries", BOTH, "--summary", "sum.md"]) == 1
    assert "not to be trusted" in capsys.readouterr().err
    assert "**CORRECT**" not in Path("sum.md").read_text(encoding="utf-8")
    evidence.write_text("no json\n", encoding="utf-8")
    assert main(["report", "--entries", BOTH, "--summary", "sum.md"]) == 1


def test_evidence_of_other_code_is_named_as_such(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The site would read UNPROVEN, and its reader look for a mistake in the variant."""
    main(["report", "--entries", "tests.harness.toys:ONE", "--summary", "sum.md"])
    assert "of its findings are of no planned case" in capsys.readouterr().err
    assert main(["report", "--entries", BOTH, "--summary", "sum.md"]) == 1
    assert "planned case" not in capsys.readouterr().err


def test_explain_tells_a_case_in_full(
    here: Path, findings: dict[str, Finding], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Question, formula, code, both sides, limit or meaning would be missing where one is asked for them."""
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence(dict(findings)))
    (here / "reports").mkdir()
    rows = [
        {"bug": "g is added", "like": "shifted", "kills": {"forward": CASE}},
        {"bug": "g is squared", "like": "ia3", "kills": {"merge": CASE}},
    ]
    (here / "reports" / "proof.json").write_text(json.dumps({"seeded_faults": rows}), encoding="utf-8")
    assert main(["explain", CASE, "--entries", BOTH]) == 0
    text = capsys.readouterr().out
    finding = findings[CASE]
    for told in (
        "Does it compute the reference's function",
        "y' = base(x) * g",
        f"got  {finding.got}",
        f"want {finding.want}",
        f"limit {finding.limit:.3g}",
        "4096 eps of float64",
        "the subject (shifted) is at fault",
        "forward detected 1 seeded faults",
        "- g is added (shifted)",
    ):
        assert told in text, told
    assert "squared" not in text
    assert main(["explain", CASE, "--entries", BOTH, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["limit"] == finding.limit
    assert data["seeded_faults"] == {"detected": 1, "some": ["g is added (shifted)"]}
    (here / "reports" / "proof.json").unlink()
    assert main(["explain", CASE, "--entries", BOTH]) == 0
    assert "forward detected" in capsys.readouterr().out  # on record in the suite's own checkout
    monkeypatch.setattr("conformance.nouns.entry.ROOT", here)
    assert main(["explain", CASE, "--entries", BOTH]) == 0
    assert "No reports/proof.json in this folder, so seeded faults cannot be listed." in capsys.readouterr().out
    assert main(["explain", CASE, "--entries", BOTH, "--code"]) == 0
    code = capsys.readouterr().out
    assert code.rstrip() in data["code"]
    exec(compile(code, "explained", "exec"), {"__name__": "explained"})
    assert "differ" in capsys.readouterr().out


def row(verdict: str, *findings: str, forward: str = "ok") -> dict[str, Any]:
    """A variant's row in results.json."""
    told = [{"severity": "MUST-FIX", "text": text, "case": "a/r/forward/p", "subject": "a.py:1"} for text in findings]
    return {"verdict": verdict, "sections": {"forward": forward}, "findings": told, "deviations": []}


def test_changes_between_results() -> None:
    """A verdict, a section or a finding that changed would not be told; or one that did not."""
    before = {"a": row("CORRECT"), "b": row("CORRECT"), "gone": row("BUGGY", "wrong")}
    after = {"a": row("BUGGY", "off", forward="DIFFERS"), "b": row("CORRECT"), "new": row("CORRECT")}
    a, gone, new = changes(before, after)
    assert (a.before, a.after, a.sections) == ("CORRECT", "BUGGY", (("forward", "ok", "DIFFERS"),))
    assert (a.came, a.went) == (("MUST-FIX off (r/forward)",), ())
    assert (gone.after, gone.went) == ("", ("MUST-FIX wrong (r/forward)",))
    assert (new.before, new.after) == ("", "CORRECT")
    moved = {"b": {**row("BUGGY", "x"), "findings": [{**row("BUGGY", "x")["findings"][0], "subject": "a.py:99"}]}}
    assert changes({"b": row("BUGGY", "x")}, moved) == ()


@pytest.fixture
def past(here: Path) -> Path:
    """A repository with three commits of results, one of them no results at all."""
    for name in ("init", "config user.email a@b", "config user.name me"):
        assert git(here, *name.split()) is not None
    file = here / "reports" / "results.json"
    file.parent.mkdir()
    for text, subject in (
        (json.dumps({"variants": {"lora": row("BUGGY", "wrong")}}), "first"),
        ("no json", "broken"),
        (json.dumps({"variants": {"lora": row("CORRECT"), "dora": row("PARTIAL")}}), "third"),
    ):
        file.write_text(text, encoding="utf-8")
        assert git(here, "add", ".") is not None
        assert git(here, "commit", "-qm", subject) is not None
    return file


def test_history_reads_git(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdicts over time would be wrong, or one unreadable commit hide all others."""
    assert main(["history"]) == 0
    out = capsys.readouterr().out
    assert "lora  BC" in out
    assert "dora  .P" in out
    assert "broken" not in out
    assert main(["history", "dora", "--json"]) == 0
    assert [r["verdicts"] for r in json.loads(capsys.readouterr().out)] == [{}, {"dora": "PARTIAL"}]


def test_diff_reads_git_and_the_disk(past: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change of verdict would not be seen before it is committed."""
    assert main(["diff", "HEAD"]) == 0
    assert "no verdict and no finding changed" in capsys.readouterr().out
    assert main(["diff", "HEAD~2"]) == 1
    out = capsys.readouterr().out
    assert "lora: BUGGY -> CORRECT" in out
    assert "- MUST-FIX wrong (r/forward)" in out
    assert "dora: none -> PARTIAL" in out
    assert main(["diff", "HEAD", "HEAD~2", "--json"]) == 1
    assert {c["variant"]: c["after"] for c in json.loads(capsys.readouterr().out)} == {"dora": "", "lora": "BUGGY"}
    assert main(["diff", "HEAD~1"]) == 2
    assert "got no results of a run" in capsys.readouterr().err
    past.unlink()
    assert main(["diff", "HEAD"]) == 2


def test_json_of_a_list_and_of_an_audit(
    here: Path, findings: dict[str, Finding], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script would have to take a table apart."""
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence(dict(findings)))
    assert main(["list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == [name for name, _ in listed()]
    assert main(["list", "shifted", "--check", "forward", "--entries", BOTH, "--json"]) == 0
    assert CASE in [each["id"] for each in json.loads(capsys.readouterr().out)]
    assert main(["audit", "--entries", BOTH, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["variants"]["shifted"]["verdict"] == "BUGGY"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "want"),
    [
        ("re", "report"),
        ("pro", "probe"),
        ("probe --variant e", "eva"),
        ("audit do", "dora"),
        ("report --ht", "--html"),
        ("list --check forw", "forward"),
    ],
)
def test_bash_completes(capsys: pytest.CaptureFixture[str], words: str, want: str) -> None:
    """The script would be one that no shell understands, or complete yesterday's commands."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = ["conformance", *words.split()]
    ask = f"COMP_WORDS=({' '.join(typed)}); COMP_CWORD={len(typed) - 1}; _conformance; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert want in done.stdout.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """A command would be missing from what they complete."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("listing", "list")
        assert name in script


def test_the_hook_runs_a_command_that_there_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every commit would fail, or the whole audit run for each."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    others, own = hooks
    assert (others["id"], own["id"]) == ("conformance-audit", "conformance")  # the first one: tests/docs
    program, *arguments = own["entry"].split()
    assert (program, own["pass_filenames"], others["pass_filenames"]) == ("conformance", False, False)
    assert "--changed-since" in arguments
    parsed = _parser().parse_args(arguments)
    assert parsed.changed_since == "HEAD"
    matches = re.compile(own["files"]).match
    assert matches("variants/lora.py")
    assert matches("refs/lock.json")
    assert not matches("docs/design.md")


def test_a_run_as_data(evidence: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would have to take the table apart, or find pytest's signs among the data."""
    found = last(evidence)[0]
    asides: list[bool] = []

    def measured(file: Path, *, aside: bool, **more: object) -> Evidence:
        asides.append(aside)
        return found

    monkeypatch.setattr(collect, "through_pytest", measured)
    assert main(["run", "--entries", BOTH, "--json"]) == 1
    data = json.loads(capfd.readouterr().out)
    assert data["variants"]["shifted"]["verdict"] == "BUGGY"
    assert data["gate"]["status"] == 1
    assert "shifted" in " ".join(data["gate"]["reasons"])
    assert asides == [True]


def test_an_estimate_of_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader would not know whether to wait; or a bar would be written over itself into a file."""
    progress = Progress()
    progress.start(40)
    for done in range(1, 41):
        progress.step(done)
    progress.end()
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("40 cases;")
    assert len(lines) == 10
    assert all(re.fullmatch(r"audit \[[#.]{24}\] \d+/40, (\d+ s left|took \d+ s)", line) for line in lines), lines
    assert lines[-1].startswith("audit [########################] 40/40, took ")


def test_a_fuzz_as_data(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A script would not learn the smallest case, or how much was looked at."""
    pytest.importorskip("hypothesis")
    from conformance.commands import fuzz

    monkeypatch.setattr(fuzz, "EXAMPLES", 5)
    assert main(["fuzz", "shifted", "--entries", BOTH, "--minutes", "0.02", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["variant"] == "shifted"
    assert found["points"] > 0
    assert found["found"]["case"].startswith("shifted/")
    assert found["found"]["got"] != found["found"]["want"]
    assert main(["fuzz", "lora", "--minutes", "0.001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] is None


def test_every_command_that_tells_something_can_tell_it_as_data() -> None:
    """A new command would have a table and no data."""
    tables = {"report", "cost", "completion"}  # they write files, or a script
    commands = next(a for a in _parser()._actions if a.choices is not None and a.dest != "help").choices
    assert isinstance(commands, dict)
    leaves = dict(commands)
    for name in ("new", "record"):
        kinds = next(a for a in leaves.pop(name)._actions if a.choices is not None).choices
        leaves |= {f"{name} {kind}": parser for kind, parser in kinds.items()}
    without = {name for name, parser in leaves.items() if "--json" not in parser.format_help()}
    assert without == tables
