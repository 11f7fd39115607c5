"""A state dict on the user's disk: read without running anything, and fitted to a backbone's own names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # counts steps; many files leave it out


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .safetensors file or of what `torch.save` made of a state dict.

    Raises ValueError for a missing file, for one that is neither, and for a pickle that would run code.
    """
    if not path.is_file():
        raise ValueError(f"weights: expected a file, got nothing at {path.absolute()}; correct the path")
    try:
        safe = path.suffix == ".safetensors"
        content = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:  # both libraries raise errors of their own
        told = (str(cause) or type(cause).__name__).splitlines()[0]
        raise ValueError(f"weights {path}: expected tensors only, got: {told}; save the state dict alone") from cause
    for key in ("state_dict", "model"):  # training scripts keep it beside the optimiser's
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"weights {path}: expected a state dict, got a {type(content).__name__}; save the state dict")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def fit(tensors: Mapping[str, Tensor], backbone: nn.Module, where: str) -> dict[str, Tensor]:
    """The tensors of `backbone` under its own names: a prefix that all share is dropped, and so is the classifier.

    Raises ValueError that starts with `where` and names what is missing, of another shape or unknown.
    """
    wanted = backbone.state_dict()
    prefix = _prefix(tensors, wanted)
    given = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    faults = {
        "missing": [name for name in wanted if name not in given and not name.endswith(COUNTER)],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
            for name, value in wanted.items()
            if name in given and given[name].shape != value.shape
        ],
        "unknown": [name for name in given if not _belongs(name, backbone)],
    }
    if any(faults.values()):
        told = "; ".join(f"{len(names)} {what}: {_first(names)}" for what, names in faults.items() if names)
        raise ValueError(f"{where}: expected the tensors of this net, got {told}; name the backbone they were made for")
    return {name: value for name, value in given.items() if name in wanted}


def _prefix(tensors: Iterable[str], wanted: Mapping[str, Tensor]) -> str:
    """What most of the wanted names have in front of them in the file, such as `module.` or `backbone.`."""
    found: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for at in range(len(parts)):
            if ".".join(parts[at:]) in wanted:
                found["".join(f"{part}." for part in parts[:at])] += 1
    return max(found, key=lambda prefix: (found[prefix], -len(prefix)), default="")


def _belongs(name: str, backbone: nn.Module) -> bool:
    """Whether a net of this kind has such a tensor: its own, one that it computes anew, or its classifier's."""
    owners = [name.rpartition(".")[0]]
    while owners[-1]:
        owners.append(owners[-1].rpartition(".")[0])
    left_out = [part for part, module in backbone.named_modules() if isinstance(module, nn.Identity)]
    known = {*backbone.state_dict(), *(buffer for buffer, _ in backbone.named_buffers())}
    return name in known or bool(set(owners) & set(left_out))


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
