"""What the last bits of a result depend on beside its identity: sums are ordered by threads and instructions."""

from __future__ import annotations

import os
import sys
from typing import Any

from export.backends.host import cpu_model
from export.backends.stamp import instruction_set


def made_with() -> dict[str, Any]:
    """Processor, instruction set and number of threads of this process.

    They are recorded with a result and are no part of its identity: weights that were trained with 8 threads remain
    those of the recipe on a machine with 4.
    """
    torch = sys.modules.get("torch")  # a stage without it has no sums of its own
    threads = torch.get_num_threads() if torch else len(os.sched_getaffinity(0))
    return {"cpu": cpu_model(), "instruction_set": instruction_set(), "threads": threads}
