"""Image sources of a recipe; `Source` is their union."""

from mlkd.data.scenes.source import Scenes
from mlkd.data.sources.coco import Coco
from mlkd.data.sources.corrected import Corrected
from mlkd.data.sources.folder import Folder
from mlkd.data.sources.nuswide import NusWide
from mlkd.data.sources.shards import Shards
from mlkd.data.sources.voc import Voc

Source = Scenes | Coco | Voc | NusWide | Folder | Shards | Corrected

__all__ = ["Coco", "Corrected", "Folder", "NusWide", "Scenes", "Shards", "Source", "Voc"]
