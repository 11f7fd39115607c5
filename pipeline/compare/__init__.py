"""Train the same student with every method from the same teacher outputs and seeds, and report the comparison."""
