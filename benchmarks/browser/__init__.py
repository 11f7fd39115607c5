"""A headless Chromium, the pages that are measured in it, and the server that it loads them from."""
