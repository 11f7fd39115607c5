"""Exports a trained tagger to an ONNX file with uint8 images as input and scores as output."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from timm.models.edgenext import PositionalEncodingFourier
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from export.onnx import graph, padding
from export.quiet import quiet
from mlkd.core.labels import Labels
from mlkd.models.network import TaggerNet

OLDEST_OPSET = 18  # of torch's exporter; runtimes from 2025 on read 20


class Scores(nn.Module):
    """A tagger with a sigmoid that returns only scores."""

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B L"]:
        scores: Tensor = self.tagger(images).logits.sigmoid()
        return scores


class SharedPositions(nn.Module):
    """Position codes of one image, expanded to the batch, so that they become constants in the graph."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, shape: tuple[int, int, int]) -> Float[Tensor, "B C H W"]:
        batch, height, width = shape
        codes: Tensor = self.positions((1, height, width))
        return codes.expand(batch, -1, -1, -1)


def to_onnx(tagger: nn.Module, labels: Labels, image_px: int, out: Path, *, recipe_hash: str) -> Path:
    """Write a graph from uint8 "images" (batch, image_px, image_px, 3) to float32 "scores" (batch, L).

    Equal weights give equal bytes.  Branches are fused where possible; the tagger itself is not changed.  The metadata
    has labels, image_px, recipe and precision.  ValueError if the tagger has another number of labels.
    """
    module = Scores(reparameterize_model(copy.deepcopy(tagger).cpu().eval())).eval()
    _share_positions(module)
    _merge_equal_channels(module)
    _ease_decomposition(module)
    _check_labels(module, labels, image_px)
    model = _export(module, image_px)
    graph.fold_constants(model)
    graph.broadcast_constants(model)
    graph.read_input_once(model)
    graph.sums_as_products(model)
    padding.pads_into_convolutions(model)
    padding.pad_maxima_with_almost_zero(model)
    graph.anonymize(model)
    assert graph.opset(model) >= OLDEST_OPSET, f"opset: expected {OLDEST_OPSET} or newer, got {graph.opset(model)}"
    metadata = {
        "labels": json.dumps(list(labels.names), ensure_ascii=False),
        "image_px": str(image_px),
        "recipe": recipe_hash,
        "precision": "fp32",
    }
    return graph.write(model, out, metadata)


def _share_positions(module: nn.Module) -> None:
    """EdgeNeXt computes its position codes in every call, which no runtime optimizes away."""
    names = [name for name, part in module.named_modules() if isinstance(part, PositionalEncodingFourier)]
    for name in names:
        module.set_submodule(name, SharedPositions(module.get_submodule(name)))


def _merge_equal_channels(module: nn.Module) -> None:
    """One mean and one std for all channels that have equal ones.

    ONNX Runtime moves the int8 graph's Transpose behind the normalization, where a constant with three values as the
    last axis takes ten times as long as a single value.
    """
    for part in module.modules():
        if isinstance(part, TaggerNet):
            for name, values in (("mean", part.mean), ("std", part.std)):
                if bool((values == values[0]).all()):
                    setattr(part, name, values[:1].clone())


def _ease_decomposition(module: nn.Module) -> None:
    """torch takes a quarter longer to decompose what needs gradients and activations that change their input."""
    module.requires_grad_(False)
    part: Any
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """torch.onnx.export makes so many objects that looking for garbage takes up to a third of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_garbage_collection()
def _export(module: nn.Module, image_px: int) -> Any:
    example = torch.zeros(2, image_px, image_px, 3, dtype=torch.uint8)  # a batch of 1 would become a constant
    with quiet("onnxscript", "torch.onnx"):  # they warn of operators not folded, which `graph.fold_constants` folds
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch"},),
            input_names=["images"],
            output_names=["scores"],
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _check_labels(module: nn.Module, labels: Labels, image_px: int) -> None:
    with torch.no_grad():
        count = module(torch.zeros(1, image_px, image_px, 3, dtype=torch.uint8)).shape[1]
    if count != len(labels):
        raise ValueError(f"tagger: expected {len(labels)} labels as in the list, got {count}; load the list beside it")
