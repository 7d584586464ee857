"""The run as a static site: pages, style and figures. No server, and no request to anywhere."""
