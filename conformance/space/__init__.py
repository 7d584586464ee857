"""The space of all questions: its axes as data, and the points in it that an audit asks about."""
