"""The pipeline's command line in processes of their own that can be killed, without importing torch for each anew."""

import multiprocessing
import os
import resource
import signal
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Started:
    """A command at work."""

    process: BaseProcess
    log: Path

    def running(self) -> bool:
        return self.process.is_alive()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What Ctrl-C does, or a service manager with SIGTERM."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Take the power away from it and all its children."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()

    def wait(self) -> tuple[int, str]:
        """Exit code, and what it wrote on standard output and standard error."""
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code, self.log.read_text()


def start(work: Path, *arguments: str, file_bytes: int | None = None, log_name: str = "log.txt") -> Started:
    """Start one command in the folder `work`, which may write no file larger than `file_bytes`."""
    log = work / log_name
    log.unlink(missing_ok=True)
    process = _CONTEXT.Process(target=_run, args=(work, log, arguments, file_bytes))
    process.start()
    while not log.exists() and process.is_alive():
        pass  # it is the leader of its own group from here on
    return Started(process, log)


def run(work: Path, *arguments: str, file_bytes: int | None = None) -> tuple[int, str]:
    """Exit code and output of one command."""
    return start(work, *arguments, file_bytes=file_bytes).wait()


def _run(work: Path, log: Path, arguments: tuple[str, ...], file_bytes: int | None) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a program of its own: workers need no imports again
    os.setsid()
    os.chdir(work)
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # for processes that it starts from another folder
    written = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    from pipeline.__main__ import main

    raise SystemExit(main(arguments))
