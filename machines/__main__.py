"""``python -m machines``: the command line."""

import sys

from machines.cli import end_on_signals, main

end_on_signals()
sys.exit(main())
