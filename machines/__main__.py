"""``python -m machines``: the command line."""

import sys

from machines.cli import main

sys.exit(main())
