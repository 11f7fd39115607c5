"""SIGTERM ends a block as Ctrl-C does, and forked children without a word."""

import os
import signal
import threading
import time

import pytest

from mlkd.core.processes import TerminatedError, interrupted_by_terminate


def test_terminate_is_an_interrupt_inside_the_block_only() -> None:
    def terminated() -> None:
        with interrupted_by_terminate():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(9)

    with pytest.raises(TerminatedError):
        terminated()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of threads, which the child has no use for
def test_a_forked_child_dies_of_it() -> None:
    ready, started = os.pipe()
    with interrupted_by_terminate():
        child = os.fork()
        if child == 0:
            try:
                os.write(started, b"x")
                time.sleep(60)
            finally:
                os._exit(3)
        assert os.read(ready, 1)  # a signal that comes earlier is lost in the fork
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    for end in (ready, started):
        os.close(end)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_handlers_of_others_stay() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupted_by_terminate():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_nothing_changes() -> None:
    seen: list[object] = []

    def block() -> None:
        with interrupted_by_terminate():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
