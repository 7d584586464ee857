"""The number that a text gives as its answer, in one form, so that exact match can be asked of it."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

NUMBER = r"[-+]?\$?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
SAID = re.compile(rf"answer\s+is\s*:?\s*[^\d+\-.]{{0,4}}({NUMBER})", re.IGNORECASE)
"""MetaMathQA ends its responses with ``The answer is: 42``."""
GOLD = re.compile(rf"####\s*({NUMBER})\s*$")


def gold(answer: str) -> str | None:
    """The number after ``####`` at the end of one of GSM8K's answers; None if there is none."""
    found = GOLD.search(answer.strip())
    return normal(found[1]) if found else None


def said(text: str) -> str | None:
    """The number that a generated text says the answer is: the first that it calls so, or else its last one."""
    first = SAID.search(text)
    if first:
        return normal(first[1])
    every = re.findall(NUMBER, text)
    return normal(every[-1]) if every else None


def normal(number: str) -> str | None:
    """``$1,200.00`` as ``1200``, ``-0.50`` as ``-0.5``. None for what is no number."""
    try:
        value = Decimal(re.sub(r"[$,\s]", "", number))
    except InvalidOperation:
        return None
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "+0") else text
