"""Reference rows: teacher and no-teacher student, in eager torch and exported as the student is."""
