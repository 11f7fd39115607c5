"""The program that ships, as a library: `Tagger.load("dist/scenes").tag("picture.jpg")`; torch-free."""

from export.tagger.choosing import Choice, Measured, NoEngineError, choose
from export.tagger.many import tag_many
from export.tagger.tagger import Tag, Tagger

__all__ = ["Choice", "Measured", "NoEngineError", "Tag", "Tagger", "choose", "tag_many"]
