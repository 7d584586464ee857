"""What a hosted CI shows: annotations at lines of a pull request (GitHub's workflow commands), and a summary."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.nouns.entry import split_line
from conformance.nouns.finding import Severity
from conformance.reporting.rows import shared
from conformance.reporting.view import SECTIONS, CardView, label_counts


def annotated(shown: Sequence[CardView]) -> str:
    """One line per finding: an error, or a notice, at ``file:line`` of the variant."""
    lines = []
    for view in shown:
        for row in view.rows:
            kind = "error" if row.severity is Severity.MUST_FIX else "notice"
            file, line, _ = split_line(row.subject_location)
            told = f"{row.told}\nreference: {row.reference_location}\n{row.command}"
            title = f"{row.variant}: {view.verdict.label}"
            lines.append(f"::{kind} file={_value(file)},line={line},title={_value(title)}::{_words(told)}\n")
    return "".join(lines)


def summary(shown: Sequence[CardView]) -> str:
    """Markdown: the table of verdicts, and what must be fixed."""
    header = ["variant", "verdict", *(name for name, _ in SECTIONS)]
    lines = [f"## Conformance: {label_counts(tuple(shown))}", "", _row(header), _row(["---"] * len(header))]
    for view in shown:
        lines.append(_row([view.name, f"**{view.verdict.label}**", *(view.section(checks) for _, checks in SECTIONS)]))
    must = shared(row for view in shown for row in view.must_fix())
    lines += ["", "### MUST-FIX", ""] if must else ["", "Nothing must be fixed."]
    for item in must:
        lines += [
            f"- **{', '.join(item.variants)}** {item.told}",
            f"  - subject `{item.row.subject_location}`, reference `{item.row.reference_location}`",
            f"  - `{item.row.command}`",
        ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _words(text).replace(":", "%3A").replace(",", "%2C")
