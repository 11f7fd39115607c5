"""A process of its own for each measurement in torch, forked from a server that has imported it: that takes seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from multiprocessing import connection, get_context
from typing import Any

from benchmarks.device.tagger_process import ProcessFailedError
from pipeline.references import torch_imports

ENDS_S = 10.0  # what a process that has answered may take to end
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([torch_imports.__name__, "pipeline.references.in_torch"])


def apart(work: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Any:
    """What `work` returns in a new process that prints nothing; raises ProcessFailedError with the reason."""
    receive, send = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_serve, args=(send, work, arguments))
    process.start()
    send.close()
    try:
        if not connection.wait([receive, process.sentinel], timeout_s):
            raise ProcessFailedError(f"no answer within {timeout_s:g} s")
        try:
            told, reason = receive.recv()
            process.join(ENDS_S)
        except EOFError:
            process.join()
            raise ProcessFailedError(f"exit code {process.exitcode}: the process ended without an answer") from None
    finally:
        process.kill()
        process.join()
        receive.close()
    if reason is not None:
        raise ProcessFailedError(reason)
    return told


def _serve(send: connection.Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(silence, stream.fileno())
    try:
        send.send((work(*arguments), None))
    except Exception as cause:  # torch and its compiler raise classes of their own
        lines = str(cause).strip().splitlines() or [""]
        send.send((None, f"{type(cause).__name__}: {lines[0]}"[:300]))
