"""One file per method: its paper, its live reference with the name map, and its closed form."""
