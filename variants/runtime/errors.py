"""The one error type of the runtime: got, want (if anything), where, what to do next."""

from __future__ import annotations

from collections.abc import Collection, Iterable

SHOWN = 4
"""How many names of a set are shown where there may be hundreds."""


class AdapterError(ValueError):
    """Raised for every bad input. The model is as it was before the call.

    The message always has the same parts, so that a reader (or a test) finds them without parsing prose. ``want`` is
    empty where nothing else could have been given instead; ``got`` is then a whole clause ("lora has no such layer").
    """

    def __init__(self, *, got: object, want: object = "", where: str, fix: str) -> None:
        self.got, self.want, self.where, self.fix = str(got), str(want), where, fix
        super().__init__(f"{where}: {self.told}. {fix}".rstrip())

    @property
    def told(self) -> str:
        """What happened, without the place and the advice."""
        return f"got {self.got}; want {self.want}" if self.want else self.got


def some(names: Iterable[object]) -> str:
    """The first names of many, and how many more there are."""
    every = list(map(str, names))
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN + 1 else ""
    return ", ".join(every[:SHOWN] if more else every) + more


def differences(got: Collection[str], want: Collection[str]) -> str:
    """How two sets of names differ, in one clause: ``3 missing (a, b, c), 1 unknown (d)``; empty where they do not."""
    sides = (("missing", [n for n in want if n not in got]), ("unknown", [n for n in got if n not in want]))
    return ", ".join(f"{len(names)} {word} ({some(sorted(names))})" for word, names in sides if names)


def mismatches(wrong: Collection[tuple[str, str, str]], of: int) -> str:
    """``(name, got, want)`` of what is not as it should be: how many of all, and the first of them in full."""
    if not wrong:
        return ""
    name, got, want = next(iter(wrong))
    return f"shape or dtype is wrong in {len(wrong)} of {of} tensors, first {name}: got {got}, want {want}"
