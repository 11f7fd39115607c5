"""Training of teacher, student and baseline."""
