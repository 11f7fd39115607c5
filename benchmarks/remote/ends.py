"""One ssh process, watched while it is talked to."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterable

PULSE_S = 10.0  # well below the silence that the agent bears
KEPT = 64 << 10  # bytes of what ssh and the device write as errors


class Ends:
    """The three ends of one ssh process, watched: it is killed after `limit_s` of silence, and shown signs of life."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.limit_s = process, limit_s
        self.stdin, self.stdout = process.stdin, process.stdout
        self.errors = bytearray()
        self.heard = time.monotonic()
        self.fed = self.late = False
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._listen)]
        for thread in self._threads:
            thread.start()

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Write, as far as the other side reads: one that stopped reading has said why, or is gone."""
        with contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                self.stdin.write(piece)
                self.stdin.flush()
                self.heard = time.monotonic()

    def close(self) -> None:
        """End the process, and wait for what it still wrote."""
        self._ended.set()
        self._threads[0].join()
        with contextlib.suppress(OSError):
            self.stdin.close()
        self.stdout.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._threads[1].join(5)

    def _watch(self) -> None:
        while not self._ended.wait(min(PULSE_S, self.limit_s)):
            if time.monotonic() - self.heard > self.limit_s:
                self.late = True
                self.process.kill()
            elif self.fed:
                with contextlib.suppress(OSError):
                    self.stdin.write(b"\n")
                    self.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            while piece := stream.read1(KEPT):  # type: ignore[attr-defined]
                self.errors = (self.errors + piece)[-KEPT:]
