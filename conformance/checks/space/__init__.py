"""One question, asked at many points of the space of uses."""
