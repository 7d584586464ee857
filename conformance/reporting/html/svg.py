"""The few elements of SVG that the figures need, as text. Coordinates have one decimal: equal data, equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr


def number(value: float) -> str:
    """One decimal, none if it is zero."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, inside: str = "", **attributes: object) -> str:
    """``<name ...>inside</name>``. ``class_`` is ``class``, ``_`` in a name is ``-``; ``inside`` is SVG already."""
    told = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(number(v) if isinstance(v, float) else str(v))}"
        for key, v in attributes.items()
    )
    return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"


def text(words: str, x: float, y: float, class_: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    return element("text", escape(words), x=x, y=y, class_=class_ or "label", text_anchor=anchor)


def title(words: str) -> str:
    """What a pointer over the element names."""
    return element("title", escape(words))


def mark(kind: str, x: float, y: float, told: str, size: float = 3.5) -> str:
    """One dot. Its shape says what its colour says, for those who do not see the colour."""
    inside = title(told)
    if kind == "ok":
        return element("circle", inside, cx=x, cy=y, r=size, class_="dot ok")
    corners = {
        "declared": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        "reference": ((-1.1, -1.1), (1.1, -1.1), (1.1, 1.1), (-1.1, 1.1)),
        "minor": ((-1.6, -0.6), (1.6, -0.6), (1.6, 0.6), (-1.6, 0.6)),
        "bad": ((0, -1.5), (1.4, 1.1), (-1.4, 1.1)),
        "missing": ((0, 1.5), (1.4, -1.1), (-1.4, -1.1)),
    }[kind]
    points = " ".join(f"{number(x + size * dx)},{number(y + size * dy)}" for dx, dy in corners)
    return element("polygon", inside, points=points, class_=f"dot {kind}")


def figure(name: str, width: float, height: float, heading: str, told: str, parts: Iterable[str]) -> str:
    """A whole figure. ``name`` is unique on its page; ``heading`` and ``told`` are what a screen reader says of it."""
    inside = "".join(
        (
            element("title", escape(heading), id=f"{name}-title"),
            element("desc", escape(told), id=f"{name}-desc"),
            *parts,
        )
    )
    return element(
        "svg",
        inside,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
    )
