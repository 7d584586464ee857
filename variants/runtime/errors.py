"""The one error type of the runtime: got, want (if anything), where, what to do next."""

from __future__ import annotations


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
