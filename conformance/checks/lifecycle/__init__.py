"""An adapter over time: saved, loaded, merged, detached, two at once."""
