"""Checkpoints: one safetensors file with JSON in its header, whole or absent, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mlkd.core.files import write_file
from mlkd.core.labels import Labels
from mlkd.models.heads import Head
from mlkd.models.network import Model, TaggerNet

BEST = "best.safetensors"
LAST = "last.safetensors"


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace `path` by a file that is complete on disk before it gets its name."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(path, save(whole, metadata={"facts": json.dumps(facts, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of `write`.  Raises ValueError for a missing or damaged file."""
    return _read(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  (no mapping)


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without reading the tensors.  Raises ValueError as `read` does."""
    return _read(path, lambda _: {})[1]


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def save_model(
    path: Path, tensors: Mapping[str, Tensor], model: Model, labels: Labels, facts: Mapping[str, Any]
) -> None:
    """A tagger that `load_model` can rebuild; `facts` go along."""
    record = {
        name: value for name, value in asdict(model).items() if name != "weights"
    }  # the first ones, perhaps a path
    write(path, tensors, {**facts, "model": record, "labels": list(labels.names)})


def load_model(folder: Path, name: str = BEST) -> TaggerNet:
    """The tagger of a finished training stage, in eval mode, on the CPU."""
    tensors, facts = read(folder / name)
    tagger = model_of(facts).build(len(facts["labels"]), pretrained=False)
    tagger.load_state_dict(tensors)
    return tagger.eval()


def load_labels(folder: Path, name: str = BEST) -> Labels:
    """The labels that the tagger was trained for."""
    return Labels(tuple(read_facts(folder / name)["labels"]))


def model_of(facts: Mapping[str, Any]) -> Model:
    """What `save_model` was told."""
    heads = {head.kind: head for head in get_args(Head)}
    record = facts["model"]
    head = record["head"]
    return Model(backbone=record["backbone"], image_px=record["image_px"], head=heads[head["kind"]](**head))


def _read(path: Path, tensors: Callable[[Any], dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise ValueError(f"checkpoint: expected the file {path}, got nothing there; run the stage that writes it")
    try:
        with safe_open(path, framework="pt") as file:
            return tensors(file), json.loads(file.metadata()["facts"])
    except Exception as cause:  # safetensors raises its own, untyped
        raise ValueError(f"checkpoint {path}: expected a whole safetensors file, got {cause}; delete it") from cause
