"""One case made concrete: both sides built, called and compared."""
