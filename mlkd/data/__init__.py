"""Sources of pictures, one a file, and the prepared set that every other stage reads."""

from mlkd.data.coco import Coco
from mlkd.data.folder import Folder
from mlkd.data.nuswide import NusWide
from mlkd.data.prepared import SPLITS, Split, prepare, read_split
from mlkd.data.scenes import Scenes
from mlkd.data.voc import Voc

Source = Scenes | Coco | Voc | NusWide | Folder

__all__ = [
    "SPLITS",
    "Coco",
    "Folder",
    "NusWide",
    "Scenes",
    "Source",
    "Split",
    "Voc",
    "prepare",
    "read_split",
]
