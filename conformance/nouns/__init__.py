"""The nouns of an audit: entry, probe, finding, verdict. They import nothing else of the harness."""
