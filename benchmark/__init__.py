"""The usual comparison of adapters: train on MetaMathQA, exact match on GSM8K. ``python -m benchmark``."""
