"""Deliberately wrong variants, one file per family of bugs, each class named after its bug."""
