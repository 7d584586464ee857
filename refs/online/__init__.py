"""Where the references are on the web: what each link must serve, and what was seen when it was followed."""
