"""What can be run here: ``nox -l`` lists it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import nox

WORK = ".conformance"
EVIDENCE = f"{WORK}/evidence.jsonl"

nox.options.default_venv_backend = "virtualenv"  # pip sees local wheel folders (a CPU build of torch, say); uv does not
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "conformance"]


@nox.session
def conformance(session: nox.Session) -> None:
    """Audit every variant, render reports/ and a site; fail when a verdict got worse or a card is stale."""
    session.install("-e", ".[suite]")
    before = _written(EVIDENCE)
    try:
        session.run("conformance", "run", *session.posargs)
    finally:
        if _written(EVIDENCE) != before:  # a whole run has ended, whatever it found
            forms = ["--html", f"{WORK}/site", "--junit", f"{WORK}/junit.xml", "--sarif", f"{WORK}/conformance.sarif"]
            hosted = os.environ.get("GITHUB_STEP_SUMMARY")
            forms += ["--annotations", "--summary", hosted] if hosted else []
            session.run("conformance", "report", *forms, success_codes=[0, 1])


def _written(file: str) -> float:
    return os.path.getmtime(file) if os.path.exists(file) else 0.0


@nox.session
def machines(session: nox.Session) -> None:
    """The audit on emulated machines, each in a clone of HEAD; a difference in reports/ fails. ``-- --list``."""
    session.install("-e", ".[test]" if "--tests" in session.posargs else ".[suite]")
    session.run("python", "-m", "machines", *session.posargs)


@nox.session
def models(session: nox.Session) -> None:
    """Every variant on tiny real models, from attach to deployment; reports/models.md. Fails if a step fails."""
    session.install("-e", ".[suite]")
    session.run("python", "-m", "models", *session.posargs)


@nox.session
def proof(session: nox.Session) -> None:
    """How sensitive the harness is: seeded faults, mutants, old states, a corrupted peft; reports/proof.md."""
    session.install("-e", ".[suite]")
    session.run("python", "-m", "proof", *session.posargs)


@nox.session(name="learn")
def learning(session: nox.Session) -> None:
    """Tiny transformers trained with every variant, beside peft and a control; reports/learning.md. Minutes."""
    session.install("-e", ".[suite]")
    session.run("python", "-m", "learning", *session.posargs)


@nox.session
def distributed(session: nox.Session) -> None:
    """Two processes (DDP, FSDP2, accelerate) and Trainer beside a plain loop; reports/distributed.md."""
    session.install("-e", ".[suite]")
    session.run("python", "-m", "distributed", *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """The adapter comparison on a tiny model and arithmetic made here; with arguments, ``python -m benchmark``'s."""
    session.install("-e", ".[suite]")
    session.run("python", "-m", "benchmark", *(session.posargs or ["tiny"]))


SUBJECTS = sorted(file.parent.name for file in Path("subjects").glob("*/requirements.txt"))


@nox.session
@nox.parametrize("library", SUBJECTS, ids=SUBJECTS)
def subjects(session: nox.Session, library: str) -> None:
    """Other people's libraries, each in an environment of its own; reports/subjects/. One alone: -s "subjects(peft)".

    The audit runs in that environment, in which the suite has its core alone, and hands back its results.
    """
    with open("pyproject.toml", "rb") as file:
        core = tomllib.load(file)["project"]["dependencies"]
    session.install(*(line for line in core if line.startswith("torch==")))
    session.install("--no-deps", "--require-hashes", "-r", f"subjects/{library}/requirements.txt")
    session.install("--no-deps", "-e", ".")
    session.run("python", "-m", "pip", "check")
    for script in sorted(Path("subjects/reproducers").glob(f"{library}_*.py")):
        session.run("python", str(script))
    out = f"{WORK}/subjects/{library}"
    asked = ["--entries", f"subjects.{library}.entries:LIBRARY", "--out", out, "--evidence", f"{out}/evidence.jsonl"]
    session.run("conformance", "audit", *asked, success_codes=[0, 1])
    session.run("python", "-m", "subjects.scoreboard", f"{WORK}/subjects", library)


@nox.session
def cost(session: nox.Session) -> None:
    """What the variants cost on a layer and on whole models, beside peft; reports/cost.md. On an idle machine."""
    session.install("-e", ".")
    session.run("conformance", "cost", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Two minutes of random points of the space for each variant, or for those that are named."""
    session.install("-e", ".[test]")
    names = session.posargs or [
        line.split()[0]
        for line in (
            session.run(
                "python", "-c", "from subjects.own.names import listed\nfor n, _ in listed(): print(n)", silent=True
            )
            or ""
        ).splitlines()
    ]
    for name in names:
        session.run("conformance", "fuzz", name, "--minutes", "2")


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, type-check, and test the suite itself, the seeded faults included; ``-- --slow`` runs the slow tests, too.

    Other arguments go to pytest.
    """
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    arguments = [argument for argument in session.posargs if argument != "--slow"]
    fast = [] if "--slow" in session.posargs else ["-m", "not slow"]
    # loadgroup: tests that share what is expensive to measure run in one process.
    session.run("pytest", "-n", "2", "--dist", "loadgroup", *fast, *arguments)
