"""`init`: look at a folder of images and write a first recipe for it."""
