"""A search for the student that keeps a device's budget."""
