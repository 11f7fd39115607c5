from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.core.labels import Labels
from mlkd.models.network import TaggerNet
from mlkd.teachers import OnnxTeacher


def test_an_exported_graph_teaches_as_its_net_does(tagger: TaggerNet, fp32: Path, images: NDArray[np.uint8]) -> None:
    names = ("red", "green", "blue", "top", "middle")
    source, images = OnnxTeacher(path=fp32, image_px=32), torch.from_numpy(images[:7])
    with torch.no_grad():
        expected = tagger(images).logits
    got = source.load(Labels(names))({32: images})
    half = 2 * float(np.finfo(np.float16).eps)  # what storing it costs anyway
    torch.testing.assert_close(got.logits, expected, atol=half, rtol=half)
    swapped = source.load(Labels(("green", "red", *names[2:])))({32: images})
    torch.testing.assert_close(swapped.logits, got.logits[:, [1, 0, 2, 3, 4]], rtol=0, atol=0)
