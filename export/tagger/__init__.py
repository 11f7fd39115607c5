"""The program that ships, as a library: `Tagger.load("dist/scenes").tag("image.jpg")`; torch-free."""

from export.errors import NoEngineError
from export.tagger.engine_choice import Choice, Measured, choose
from export.tagger.parallel import tag_many
from export.tagger.tagger import Tag, Tagger

__all__ = ["Choice", "Measured", "NoEngineError", "Tag", "Tagger", "choose", "tag_many"]
