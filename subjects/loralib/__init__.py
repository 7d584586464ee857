"""Microsoft's loralib, which the paper's authors wrote."""
