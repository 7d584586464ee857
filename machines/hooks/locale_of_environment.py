"""The caller takes on the environment's locale, as programs with a window do: C functions then write ``0,5``."""

import locale

locale.setlocale(locale.LC_ALL, "")
