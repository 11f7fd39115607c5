"""The bundle: manifest, files, signature, golden images and the program that runs it."""
