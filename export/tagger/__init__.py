"""The library of the deployed program, torch-free: `Tagger.load("dist/scenes").tag("image.jpg")`."""

from export.errors import NoEngineError
from export.tagger.engine_choice import Choice, EngineTimes, choose
from export.tagger.parallel import tag_many
from export.tagger.tagger import Tag, Tagger

__all__ = ["Choice", "EngineTimes", "NoEngineError", "Tag", "Tagger", "choose", "tag_many"]
