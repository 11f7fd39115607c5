"""The accelerator of a run: devices, processes, precision and trackers, all by the accelerate library."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers

from mlkd.training.config import Training


def accelerator(training: Training, out: Path) -> Accelerator:
    """One for this process, with the trackers started below `out`.

    Raises ValueError for a tracker that is not installed, and for fp16 without CUDA.
    """
    installed = sorted(str(tracker) for tracker in get_available_trackers())
    for name in training.trackers:
        if name not in installed:
            raise ValueError(
                f"training.trackers: expected installed ones ({', '.join(installed)}), got {name!r}; install it"
            )
    AcceleratorState._reset_state()  # one a process; the next run of the same process may compute in another precision
    made = Accelerator(
        cpu=not torch.accelerator.is_available(),  # else torchrun's processes do not find each other on a CPU
        mixed_precision=_precision(training),
        log_with=list(training.trackers),
        project_dir=str(out),
    )
    made.init_trackers("training")
    return made


def _precision(training: Training) -> str:
    cuda = torch.cuda.is_available()
    if training.precision == "fp16" and not cuda:
        raise ValueError("training.precision: expected CUDA for fp16, got a machine without; use bf16 or fp32")
    chosen = {"auto": "bf16" if cuda else "no", "fp32": "no"}
    return chosen.get(training.precision, training.precision)
