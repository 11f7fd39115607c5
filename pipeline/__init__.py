"""DECIDES: recipes, stages and the command line."""
