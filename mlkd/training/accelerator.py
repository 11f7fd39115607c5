"""The accelerator of a run: devices, processes, precision and trackers, by the accelerate library."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from torch import nn

from mlkd.training.config import Training


def create_accelerator(training: Training, out: Path) -> Accelerator:
    """The accelerator of this process; its trackers write below `out`.

    Raises ValueError for a tracker that is not installed, and for fp16 without CUDA.
    """
    installed = sorted(str(tracker) for tracker in get_available_trackers())
    for name in training.trackers:
        if name not in installed:
            raise ValueError(
                f"training.trackers: expected installed ones ({', '.join(installed)}), got {name!r}; install it"
            )
    cuda = torch.cuda.is_available()
    if training.precision == "fp16" and not cuda:
        raise ValueError("training.precision: expected CUDA for fp16, got a machine without it; use bf16 or fp32")
    names = {"auto": "bf16" if cuda else "no", "fp32": "no"}  # as accelerate calls them
    torch.backends.cudnn.benchmark = True  # the fastest convolution for the one size of all batches; no effect on a CPU
    AcceleratorState._reset_state()  # a process has one; its next run may use another precision
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # otherwise the processes of torchrun do not connect on a CPU
        mixed_precision=names.get(training.precision, training.precision),
        log_with=list(training.trackers) or None,
        project_dir=str(out),
    )
    accelerator.init_trackers("training")
    return accelerator


def wrap(module: nn.Module, accelerator: Accelerator, *, compiled: bool) -> nn.Module:
    """The module to call in a training step: compiled if asked for, and data-parallel with several processes."""
    called: nn.Module = torch.compile(module) if compiled else module  # type: ignore[assignment]
    return accelerator.prepare(called) if accelerator.num_processes > 1 else called
