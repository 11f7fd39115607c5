"""Sessions of one engine for several threads: a session is for one at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from export.backends import Session


class Sessions:
    """At most `most` sessions of an engine, the first one open, further ones opened when several are wanted at once."""

    def __init__(self, first: Session, open_another: Callable[[], Session], most: int = 1) -> None:
        """`open_another` opens the same engine again; it may be called from several threads."""
        self.first = first  # says what is true of all of them
        self._open_another = open_another
        self._most = most
        self._idle = [first]
        self._opened = 1
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Session]:
        """A session for this thread alone: an idle one, else a new one while there are fewer than `most`, else wait.

        Raises ValueError once they are closed, and what opening the engine raises.
        """
        session = self._take() or self._another()
        try:
            yield session
        finally:
            self._give_back(session)

    def close(self) -> None:
        """Release the runtime: sessions that are in use close when they are given back.  May be called again."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for session in idle:
            session.close()

    def _take(self) -> Session | None:
        """An idle session, or None for leave to open one more."""
        with self._changed:
            while not (self._closed or self._idle or self._opened < self._most):
                self._changed.wait()
            if self._closed:
                name = self.first.engine.name
                raise ValueError(f"{name}: expected an open tagger, got a closed one; load the bundle again")
            if self._idle:
                return self._idle.pop()
            self._opened += 1
            return None

    def _another(self) -> Session:
        try:
            return self._open_another()
        except BaseException:
            with self._changed:
                self._opened -= 1
                self._changed.notify()
            raise

    def _give_back(self, session: Session) -> None:
        with self._changed:
            closed = self._closed
            if not closed:
                self._idle.append(session)
                self._changed.notify()
        if closed:
            session.close()
