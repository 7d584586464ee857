"""Do adapted models train over several processes, and in Trainer, as in a plain loop? ``python -m distributed``."""
