"""Data sources, one a file, and the prepared set that every other stage reads."""

from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, Split, read_split
from mlkd.data.scenes.source import Scenes
from mlkd.data.sources.coco import Coco
from mlkd.data.sources.folder import Folder
from mlkd.data.sources.nuswide import NusWide
from mlkd.data.sources.voc import Voc

Source = Scenes | Coco | Voc | NusWide | Folder

__all__ = ["SPLITS", "Coco", "Folder", "NusWide", "Scenes", "Source", "Split", "Voc", "prepare", "read_split"]
