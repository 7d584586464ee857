"""Does a whole model learn with each variant, and as with peft's tuner? ``python -m learning``."""
