"""Run work with torch in a process of its own, forked from a server that has imported torch already.

A new interpreter would spend about 10 s on that import, for each of some ten processes of a bench.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing import connection, get_context
from typing import Any

from benchmarks.device.tagger_process import ProcessFailedError

EXIT_S = 10.0  # what a process that has answered may take to end
FORK_SERVER = get_context("forkserver")
FORK_SERVER.set_forkserver_preload([__name__, "pipeline.references.torch_model"])

_started = time.perf_counter_ns()
import_module("mlkd.models.checkpoint")
IMPORTS_MS = (time.perf_counter_ns() - _started) / 1e6  # of the fork server, which imports this module first


def run_in_process(work: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Any:
    """Call `work` in a new process without output.

    Raises ProcessFailedError with the reason.
    """
    receive, send = FORK_SERVER.Pipe(duplex=False)
    process = FORK_SERVER.Process(target=_work, args=(send, work, arguments))
    process.start()
    send.close()
    try:
        if not connection.wait([receive, process.sentinel], timeout_s):
            raise ProcessFailedError(f"no answer within {timeout_s:g} s")
        try:
            answer, reason = receive.recv()
            process.join(EXIT_S)
        except EOFError:
            process.join()
            raise ProcessFailedError(f"exit code {process.exitcode}: the process ended without an answer") from None
    finally:
        process.kill()
        process.join()
        receive.close()
    if reason is not None:
        raise ProcessFailedError(reason)
    return answer


def _work(send: connection.Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(silence, stream.fileno())
    try:
        send.send((work(*arguments), None))
    except Exception as cause:  # torch and its compiler raise classes of their own
        lines = str(cause).strip().splitlines() or [""]
        send.send((None, f"{type(cause).__name__}: {lines[0]}"[:300]))
