"""A state dict in a file: read without running code, and renamed to the tensors of a backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # a step counter that many files leave out


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a .safetensors file or of a state dict that `torch.save` wrote.

    Raises ValueError for a missing file, another kind of file, and a pickle that would run code.
    """
    if not path.is_file():
        raise ValueError(f"weights: expected a file, got none at {path.absolute()}; correct the path")
    try:
        safe = path.suffix == ".safetensors"
        content = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:  # both libraries have exceptions of their own
        reason = (str(cause) or type(cause).__name__).splitlines()[0]
        if type(cause).__name__ == "UnpicklingError":  # torch's message says how to run the code of such a file
            reason = "other objects, whose loading could run code"
        raise ValueError(f"weights {path}: expected tensors only, got: {reason}; save only the state dict") from cause
    for key in ("state_dict", "model"):  # training scripts store it next to the state of the optimiser
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"weights {path}: expected a state dict, got a {type(content).__name__}; save the state dict")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def fit(tensors: Mapping[str, Tensor], backbone: nn.Module, where: str) -> dict[str, Tensor]:
    """The tensors under the names of `backbone`: a common prefix and the classifier are dropped.

    Raises ValueError that starts with `where` and names the tensors that are missing, of another shape or unknown.
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
        first = {fault: ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])]) for fault, names in faults.items()}
        listed = "; ".join(f"{len(names)} {fault}: {first[fault]}" for fault, names in faults.items() if names)
        raise ValueError(
            f"{where}: expected the tensors of this model, got {listed}; name the backbone that they were trained in"
        )
    return {name: value for name, value in given.items() if name in wanted}


def _prefix(tensors: Iterable[str], wanted: Mapping[str, Tensor]) -> str:
    """The prefix of most of the wanted names in the file, such as `module.` or `backbone.`."""
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for index in range(len(parts)):
            if ".".join(parts[index:]) in wanted:
                counts["".join(f"{part}." for part in parts[:index])] += 1
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _belongs(name: str, backbone: nn.Module) -> bool:
    """Whether this model has such a tensor: a stored one, a computed buffer, or one of the removed classifier."""
    owners = [name.rpartition(".")[0]]
    while owners[-1]:
        owners.append(owners[-1].rpartition(".")[0])
    removed = [part for part, module in backbone.named_modules() if isinstance(module, nn.Identity)]
    known = {*backbone.state_dict(), *(buffer for buffer, _ in backbone.named_buffers())}
    return name in known or bool(set(owners) & set(removed))
