"""Reference rows: teacher and no-teacher student, in eager torch and exported like the student."""
