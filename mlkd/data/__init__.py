"""Sources of pictures, one a file, and the prepared set that every other stage reads."""

from mlkd.data.folder import Folder
from mlkd.data.prepared import SPLITS, Split, prepare, read_split
from mlkd.data.scenes import Scenes
from mlkd.data.voc import Voc

Source = Scenes | Voc | Folder

__all__ = ["SPLITS", "Folder", "Scenes", "Source", "Split", "Voc", "prepare", "read_split"]
