"""Rewrites the Pad nodes of exported graphs, so that runtimes compute them correctly and fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from export.onnx import graph


def pads_into_convolutions(model: ModelProto) -> None:
    """Move the zeros of a Pad in front of a convolution into the convolution: SAME padding at a fixed size."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for pad in [node for node in model.graph.node if node.op_type == "Pad"]:
        amounts, read_by = _spatial_amounts(pad, constants), readers.get(pad.output[0], [])
        if amounts is None or any(node.op_type != "Conv" for node in read_by):
            continue
        for conv in read_by:
            attribute = next((entry for entry in conv.attribute if entry.name == "pads"), None)
            own = list(attribute.ints) if attribute else [0] * len(amounts)
            if attribute:
                conv.attribute.remove(attribute)
            pads = [a + b for a, b in zip(own, amounts, strict=True)]
            conv.attribute.append(onnx.helper.make_attribute("pads", pads))
            conv.input[0] = pad.input[0]
    graph.drop_dead(model)


def pad_maxima_with_almost_zero(model: ModelProto) -> None:
    """Pad with the smallest normal number instead of zero in front of a MaxPool.

    ONNX Runtime (1.31, `Pad_Fusion`) turns zeros into the MaxPool's own padding, which does not take part in the
    maximum: a window with negative values would have a negative maximum instead of zero.
    """
    pooled = {node.input[0] for node in model.graph.node if node.op_type == "MaxPool"}
    for node in model.graph.node:
        padded = node.op_type == "Pad" and node.output[0] in pooled
        if padded and len(node.input) == 2:  # zeros by default
            node.input.append(f"{node.output[0]}_filling")
            tiny = np.array(np.finfo(np.float32).smallest_normal)
            model.graph.initializer.append(numpy_helper.from_array(tiny, node.input[2]))


def _spatial_amounts(pad: NodeProto, constants: Mapping[str, NDArray[Any]]) -> list[int] | None:
    """Zeros before and after each spatial axis; None for other axes, modes or values."""
    mode = next((entry.s for entry in pad.attribute if entry.name == "mode"), b"constant")
    filling = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    amounts = constants.get(pad.input[1])
    if mode != b"constant" or len(pad.input) > 3 or filling is None or filling.any() or amounts is None:
        return None
    batch_and_channels = [0, 1, len(amounts) // 2, len(amounts) // 2 + 1]
    if (amounts < 0).any():  # a crop
        return None
    return None if amounts[batch_and_channels].any() else list(np.delete(amounts, batch_and_channels).tolist())
