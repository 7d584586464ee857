"""Somebody else's code: from a class to an entry, what is wrong with an entry, findings as tests of its project."""
