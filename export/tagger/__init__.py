"""The program that ships, as a library: `Tagger.load("dist/scenes").tag("picture.jpg")`; torch-free."""

from export.tagger.choosing import Choice, NoEngineError, choose
from export.tagger.tagger import Tag, Tagger

__all__ = ["Choice", "NoEngineError", "Tag", "Tagger", "choose"]
