"""The museum: deliberately wrong variants that the harness must catch, and correct re-writings that it must not."""
