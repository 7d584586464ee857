"""Lightning's LitGPT."""
