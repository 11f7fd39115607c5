"""Recipes: the schema, the strict reader, and the recipes that come with the project."""
