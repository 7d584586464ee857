"""Costs of a step of training on a whole model, beside the frozen model and beside peft."""
