"""A pool of sessions of one engine, because a session is not thread-safe."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from export.backends import Session


class SessionPool:
    """Up to `size` sessions of an engine; all but the first are opened when several are needed at once."""

    def __init__(self, first: Session, open_another: Callable[[], Session], size: int = 1) -> None:
        """`open_another` opens the same engine again; it may be called from several threads."""
        self.first = first
        self._open_another = open_another
        self._size = size
        self._idle = [first]
        self._opened = 1
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Session]:
        """Yield an idle session, or open a new one while there are fewer than `size`, or wait for one.

        Raises ValueError if the pool is closed, and errors of opening the engine.
        """
        session = self._take_idle() or self._open_next()
        try:
            yield session
        finally:
            self._give_back(session)

    def close(self) -> None:
        """Close the sessions; those in use close when they are returned.  Closing twice is allowed."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for session in idle:
            session.close()

    def _take_idle(self) -> Session | None:
        """An idle session, or None if the caller is to open a new one."""
        with self._changed:
            while not (self._closed or self._idle or self._opened < self._size):
                self._changed.wait()
            if self._closed:
                name = self.first.engine.name
                raise ValueError(f"{name}: expected an open tagger, got a closed one; load the bundle again")
            if self._idle:
                return self._idle.pop()
            self._opened += 1
            return None

    def _open_next(self) -> Session:
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
