"""The same student trained with every method from the same teacher outputs and seeds, and the page that tells."""
