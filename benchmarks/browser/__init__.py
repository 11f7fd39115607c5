"""Pages that are measured in a headless Chromium by the protocol of the native engines."""
