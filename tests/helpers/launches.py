"""A line of three stages, the second distributed, run by two processes: by torchrun, or started bare and so quicker."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from pipeline.runner.faults import StageError
from pipeline.runner.stage import Context, Pipeline, Stage

REPOSITORY = Path(__file__).parents[2]
NOTES = "notes.txt"
_CONTEXT = multiprocessing.get_context("forkserver")


def run(work: Path, fault: str) -> None:
    """What each process does; `fault` says where one raises."""
    rank = int(os.environ["RANK"])

    def note(stage: str) -> None:
        with (work / NOTES).open("a") as file:
            file.write(f"{stage} {rank}\n")
        if fault in (stage, f"{stage} {rank}"):
            raise ValueError(f"{stage}: expected no fault, got one; take it away")

    def first(context: Context) -> None:
        (context.out / "text").write_text("from the first")
        note("first")

    def together(context: Context) -> None:
        import torch
        from accelerate import Accelerator

        assert (context.inputs["first"] / "text").read_text() == "from the first"
        note("together")
        total = Accelerator().reduce(torch.tensor([rank + 1.0])).item()
        if rank == 0:
            (context.out / "total").write_text(f"{total:g}")
        else:
            time.sleep(0.2)  # the first may not rename the folder before
            (context.out / "slow").write_text("still here")

    def last(context: Context) -> None:
        note("last")
        (context.out / "copy").write_text((context.inputs["together"] / "total").read_text())

    stages = (
        Stage(name="first", run=first),
        Stage(name="together", run=together, reads=("first",), distributed=True),
        Stage(name="last", run=last, reads=("together",)),
    )
    elsewhere = fault == "elsewhere" and rank == 1
    Pipeline(stages, work / ("other disk" if elsewhere else "runs")).run()


def torchrun(work: Path, fault: str = "none") -> tuple[int, list[str], str]:
    """Exit code, which stage ran in which process, and standard error."""
    (work / NOTES).unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*command, "-m", "tests.helpers.launches", work, fault], cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return ended.returncode, _ran(work), ended.stderr


def bare(work: Path, fault: str = "none") -> tuple[list[int | None], list[str], list[str]]:
    """Exit code, which stage ran in which process, and what each process says, with no launcher to end them."""
    (work / NOTES).unlink(missing_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_CONTEXT.Process(target=_one, args=(work, fault, rank, port)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    told = [(work / f"told{rank}.txt").read_text() for rank in (0, 1)]
    return [process.exitcode for process in processes], _ran(work), told


def _one(work: Path, fault: str, rank: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    told = work / f"told{rank}.txt"
    told.write_text("")
    try:
        run(work, fault)
    except (StageError, RuntimeError) as cause:
        told.write_text(str(cause))
        raise SystemExit(2) from None


def _ran(work: Path) -> list[str]:
    return sorted((work / NOTES).read_text().splitlines()) if (work / NOTES).is_file() else []


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
