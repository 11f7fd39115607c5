"""The processes that accelerate or torchrun launched together; a single process never imports torch here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

LONGEST = timedelta(days=7)  # the others wait while the first process prepares data, which may take hours


def count() -> int:
    """Return how many processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def number() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_first() -> bool:
    """Return whether this is the process that decides, writes and logs; True for a single process."""
    return number() == 0


def place() -> str:
    """Describe which process this is, for error messages; empty for a single process."""
    return "" if count() == 1 else f", process {number() + 1} of {count()}"


class ProcessGoneError(RuntimeError):
    """Another process of the launch ended too early."""


@dataclass(frozen=True)
class Group:
    """All processes of the launch; `control` is a torch group over CPU, None when there is only one."""

    control: Any = None

    def send(self, value: Any) -> None:
        """Send a small object from the first process to all others."""
        if self.control is not None:
            self._call(lambda distributed: distributed.broadcast_object_list([value], 0, self.control))

    def receive(self) -> Any:
        """Wait for the object that the first process sends."""
        box = [None]
        self._call(lambda distributed: distributed.broadcast_object_list(box, 0, self.control))
        return box[0]

    def wait(self) -> None:
        """Wait until all processes reach this point."""
        if self.control is not None:
            self._call(lambda distributed: distributed.barrier(self.control))

    def _call(self, collective: Callable[[Any], Any]) -> None:
        """Raises ProcessGoneError."""
        import torch.distributed

        try:
            collective(torch.distributed)
        except RuntimeError as cause:
            raise ProcessGoneError(
                f"expected {count()} running processes, got one that ended; see its own error message"
            ) from cause


@contextmanager
def joined() -> Iterator[Group]:
    """Connect the processes, through CUDA where available, and disconnect them at the end.

    After an error they stay connected, because disconnecting waits for the others: the process exits, and its launcher
    then stops the others.
    """
    if count() == 1:
        yield Group()
        return
    import torch.distributed
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    state = PartialState(cpu=cpu, timeout=LONGEST)  # shared by every Accelerator of this process
    group = Group(torch.distributed.new_group(backend="gloo", timeout=LONGEST))  # NCCL waits with a busy loop
    yield group
    group.wait()
    state.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)
