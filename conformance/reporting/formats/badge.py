"""A verdict as a small picture for a README."""

from __future__ import annotations

from xml.sax.saxutils import escape

from conformance.nouns.verdict import Label

COLOURS = {Label.CORRECT: "#0b6e4f", Label.PARTIAL: "#7a5200", Label.UNPROVEN: "#55535e", Label.BUGGY: "#a3122a"}
"""White text on each has a contrast of at least 4.5."""
LETTER, ROOM = 7.0, 12.0
"""Width of a letter at 11 px, a little more than most are, and room around the words."""


def badge(name: str, label: Label) -> str:
    """An SVG text with the variant's name and its verdict."""
    left, right = (round(LETTER * len(words) + ROOM) for words in (name, label.value))
    words = escape(f"{name}: {label.value}", {'"': "&quot;"})
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{words}">'
        f"<title>{words}</title>"
        f'<rect width="{left + right}" height="20" rx="3" fill="#333"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{COLOURS[label]}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{escape(name)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{label.value}</text></g></svg>\n'
    )
