"""Files that run code if they are loaded as pickles, and graphs whose weights are elsewhere."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from tests.helpers import bundles

MARKER = "payload-ran"  # in the current folder


class Code:
    """Code that a pickle runs while it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(MARKER),)


def plain() -> bytes:
    """A pickle."""
    return pickle.dumps({"w": Code()})


def torch_zip() -> bytes:
    """A file of torch.save."""
    stream = io.BytesIO()
    torch.save({"conv_stem.weight": Code()}, stream)
    return stream.getvalue()


def torch_legacy() -> bytes:
    """A file of torch.save as in versions before 1.6."""
    stream = io.BytesIO()
    torch.save({"conv_stem.weight": Code()}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def array() -> bytes:
    """An .npy file of objects."""
    stream = io.BytesIO()
    np.save(stream, np.array([Code()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def archive() -> bytes:
    """An .npz file of objects under the names of golden results."""
    stream = io.BytesIO()
    objects = np.array([Code()], dtype=object)
    names = ("decoded_0", "pixels_0", "labels", "mean", "directions", "scores:onnxruntime-fp32")
    np.savez(stream, allow_pickle=True, **dict.fromkeys(names, objects))
    return stream.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "pickle": plain, "torch": torch_zip, "torch before 1.6": torch_legacy, "npy": array, "npz": archive,
}  # fmt: skip
LOADERS: dict[str, Callable[[bytes], object]] = {  # those that run the code
    "pickle": pickle.loads,
    "torch": lambda content: torch.load(io.BytesIO(content), weights_only=False),
    "torch before 1.6": lambda content: torch.load(io.BytesIO(content), weights_only=False),
    "npy": lambda content: np.load(io.BytesIO(content), allow_pickle=True),
    "npz": lambda content: dict(np.load(io.BytesIO(content), allow_pickle=True)),
}


def graph_with_weights_in(location: str, file: Path) -> Path:
    """The graph of colours, whose gain is in another file."""
    model = onnx.load(bundles.write_onnx(file))
    weights = model.graph.initializer[0]
    size = len(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(size)}.items():
        weights.external_data.add(key=key, value=value)
    file.write_bytes(model.SerializeToString())
    return file
