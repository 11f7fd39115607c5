"""The processes of one launch by accelerate or torchrun; a process by itself passes through without loading torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

LONGEST = timedelta(days=7)  # the first process may compose data for hours while the others wait for it


def count() -> int:
    """How many processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_first() -> bool:
    """True in the process that decides, writes and speaks; True alone."""
    return count() == 1 or os.environ["RANK"] == "0"


def place() -> str:
    """Which process this is, to go behind what it says; nothing alone."""
    return "" if count() == 1 else f", process {int(os.environ['RANK']) + 1} of {count()}"


def refuse_several(command: str) -> None:
    """ValueError for a command that does not train when a launcher has started it more than once."""
    if count() > 1:
        raise ValueError(f"{command}: expected one process, got {count()}; run it without the launcher")


class ProcessGoneError(RuntimeError):
    """Another process of the launch has ended too early."""


@dataclass(frozen=True)
class Group:
    """All processes of the launch; `control` is a torch group over CPU, None when there is only one."""

    control: Any = None

    def tell(self, value: Any) -> None:
        """Called by the first: hand a small object to all others."""
        if self.control is not None:
            self._call(lambda distributed: distributed.broadcast_object_list([value], 0, self.control))

    def told(self) -> Any:
        """Called by all others: wait for what the first tells, however long that takes."""
        box = [None]
        self._call(lambda distributed: distributed.broadcast_object_list(box, 0, self.control))
        return box[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.control is not None:
            self._call(lambda distributed: distributed.barrier(self.control))

    def _call(self, collective: Callable[[Any], Any]) -> None:
        """Raises ProcessGoneError."""
        import torch.distributed

        try:
            collective(torch.distributed)
        except RuntimeError as cause:
            raise ProcessGoneError(
                f"expected {count()} processes at work, got one that has ended; its own message says why"
            ) from cause


@contextmanager
def joined() -> Iterator[Group]:
    """Connect the processes, through CUDA where there is one, and part them when all is done.

    After an error nothing is parted, as that may wait for the others: the process has to end, its launcher then ends
    the others.
    """
    if count() == 1:
        yield Group()
        return
    import torch.distributed
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    state = PartialState(cpu=cpu, timeout=LONGEST)  # what every Accelerator of this process uses from now on
    group = Group(torch.distributed.new_group(backend="gloo", timeout=LONGEST))  # NCCL would wait at full load
    yield group
    group.wait()
    state.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)
