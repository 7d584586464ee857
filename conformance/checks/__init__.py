"""One question per file. ``registry`` lists them."""
