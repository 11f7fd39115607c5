"""Work that is killed in a process of its own just before it changes the file system for the Nth time."""

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "shutil.copyfile"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Whether `work` made a change number `step`, from 0: then it is killed there, else it is done.

    A copy is killed when half of the file is there.
    """
    with warnings.catch_warnings():  # a newer Python warns of threads, which the child has no use for
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _work(step, work)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert status == 0
    return False


def _work(step: int, work: Callable[[], object]) -> None:
    left = step

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
            left -= 1
            if left == -1:
                if event == "shutil.copyfile":
                    _copy_half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    with contextlib.suppress(BaseException):
        try:
            sys.addaudithook(count)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
    os._exit(code)


def _copy_half(source: Path, target: Path) -> None:
    content = Path(source).read_bytes()
    Path(target).write_bytes(content[: len(content) // 2])
