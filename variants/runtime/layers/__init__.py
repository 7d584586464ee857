"""Layers in their model: how they store their weight, who calls them, who reads them, what the model is wrapped in."""
