"""Where training starts: initial values, identity, starts from data."""
