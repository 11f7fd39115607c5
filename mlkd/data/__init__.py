"""Sources of pictures, one a file, and the prepared set that every other stage reads."""
