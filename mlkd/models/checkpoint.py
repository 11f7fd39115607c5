"""Checkpoints: one safetensors file with JSON in its header, written atomically, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mlkd.core.files import write_file
from mlkd.core.labels import Labels
from mlkd.models.config import Model
from mlkd.models.heads import Head

if TYPE_CHECKING:
    from torch import Tensor

    from mlkd.models.network import TaggerNet

BEST = "best.safetensors"
LAST = "last.safetensors"
HEADER_BYTES = 100_000_000  # the longest header that the format allows


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace `path` atomically by a file with the tensors, and `facts` as JSON."""
    from safetensors.torch import save

    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps([facts, _digest(on_cpu, facts)], sort_keys=True)
    write_file(path, save(on_cpu, metadata={"facts": text}))  # two entries would be in any order


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts that `write` stored.  Raises ValueError for a missing or damaged file."""
    from safetensors import safe_open

    with _readable(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        facts, digest = _facts_and_digest(file.metadata()["facts"])
        if digest not in (None, _digest(tensors, facts)):
            raise ValueError("other content than was written")
        return tensors, facts


def read_last(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read LAST of an unfinished training; raises ValueError also for a damaged BEST, which a resumed one keeps."""
    tensors, facts = read(folder / LAST)
    if facts["best_epoch"]:
        read(folder / BEST)
    return tensors, facts


def read_facts(path: Path) -> dict[str, Any]:
    """Only the facts, from the header of the file.  Raises ValueError for a missing or damaged file."""
    with _readable(path), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, HEADER_BYTES)))
        facts, _ = _facts_and_digest(header.pop("__metadata__")["facts"])
        size = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if path.stat().st_size != size:
            raise ValueError(f"{path.stat().st_size} bytes instead of {size}")
        return facts


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, under the rest of their names."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def save_model(
    path: Path, tensors: Mapping[str, Tensor], model: Model, labels: Labels, facts: Mapping[str, Any]
) -> None:
    """Write a tagger that `load_model` can rebuild, with `facts`."""
    config = asdict(model)
    del config["weights"]  # the initial ones, perhaps a path
    for key in ("stages", "expansion"):
        if config[key] is None:
            del config[key]  # as in files from before the key existed
    write(path, tensors, {**facts, "model": config, "labels": list(labels.names)})


def load_model(folder: Path, name: str = BEST) -> TaggerNet:
    """The tagger of a finished training stage, in eval mode, on the CPU."""
    tensors, facts = read(folder / name)
    config = facts["model"]
    kinds = {head.kind: head for head in get_args(Head)}
    head = kinds[config["head"]["kind"]](**config["head"])
    kept = {key: config.get(key) for key in ("stages", "expansion")}
    model = Model(backbone=config["backbone"], image_px=config["image_px"], head=head, **kept)
    tagger = model.build(len(facts["labels"]), pretrained=False)
    tagger.load_state_dict(tensors)
    return tagger.eval()


def load_labels(folder: Path, name: str = BEST) -> Labels:
    """The labels that the tagger was trained for."""
    return Labels(tuple(read_facts(folder / name)["labels"]))


def _facts_and_digest(text: str) -> tuple[dict[str, Any], str | None]:
    """The facts and the hash of everything; files of earlier versions have no hash."""
    content = json.loads(text)
    return (content, None) if isinstance(content, dict) else (content[0], content[1])


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 of all that a checkpoint holds."""
    import torch

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise ValueError that names the file if it is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"checkpoint: expected the file {path}, got none; run the stage that writes it")
    try:
        yield
    except Exception as cause:  # safetensors has untyped exceptions of its own
        raise ValueError(f"checkpoint {path}: expected a complete safetensors file, got {cause}; delete it") from cause
