"""What must hold at every door: a result or a clear error, soon, and nothing outside the folder."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Door = Callable[[bytes, Path], None]

CLEAR = (ValueError, OSError, RuntimeError, ImportError)  # what a command prints as an error
UNCLEAR = (RecursionError, UnicodeError, json.JSONDecodeError)  # among those; they name neither file nor next step
SLOW_S = 10.0  # of processor time
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {  # audit events that change files, and which of their arguments are paths that change
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown"), slice(1)),
    "sqlite3.connect": slice(1),
    **dict.fromkeys(("os.rename", "os.link"), slice(2)),
    "os.symlink": slice(1, 2),
}
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
CACHES = ("__pycache__", "torchinductor_", ".cache/edge-tagger")  # of Python, of torch and of this project
BASE = tempfile.gettempdir()
_watched: list[tuple[str, list[str]] | None] = []  # the folder, and what happened outside


def fault_of(door: Door, content: bytes) -> str | None:
    """What is wrong when content comes in at a door; None if all is as it must be."""
    _install()
    with tempfile.TemporaryDirectory() as name:
        outside: list[str] = []
        tempfile.tempdir = name
        _watched.append((os.path.realpath(name), outside))
        began = time.process_time()
        fault = None
        try:
            door(content, Path(name))
        except Exception as cause:
            fault = _fault(cause)
        finally:
            _watched.pop()
            tempfile.tempdir = None
        took_s = time.process_time() - began
    if outside:
        return f"outside its folder: {outside[0]}"
    return fault or (f"took {took_s:.0f} s" if took_s > SLOW_S else None)


def _fault(cause: Exception) -> str | None:
    is_clear = isinstance(cause, CLEAR) and not isinstance(cause, UNCLEAR)
    of_system = isinstance(cause, OSError) and cause.filename is not None
    if is_clear and ("expected" in str(cause) or of_system):
        return None
    at = [frame for frame in traceback.extract_tb(cause.__traceback__) if "/doors/" not in frame.filename]
    where = f"{Path(at[-1].filename).name}:{at[-1].lineno}" if at else "the door"
    return f"{type(cause).__name__} in {where}: {str(cause)[:200]}"


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """What is made here is no fault: it lasts as long as the process, for all inputs."""
    _watched.append(None)
    try:
        yield
    finally:
        _watched.pop()


def lasting() -> Path:
    """A new folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(dir=BASE)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def is_chosen(content: bytes, one_in: int) -> bool:
    """Whether a content is among those for which a slow step is taken: always the same ones."""
    return zlib.crc32(content) % one_in == 0


_installed = False


def _install() -> None:
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    watched = _watched[-1] if _watched else None
    if watched is None:
        return
    folder, outside = watched
    if event == "open":
        paths = arguments[:1] if (arguments[2] or 0) & WRITING else ()
    elif event in CHANGES:
        paths = arguments[CHANGES[event]]
    elif event in PROGRAMS:
        outside.append(f"{event} {arguments!r:.200}")
        return
    else:
        return
    outside += [f"{event} {path}" for path in map(_written, paths) if path and not f"{path}/".startswith(f"{folder}/")]


def _written(path: Any) -> str:
    """The real path; empty where it is none that matters."""
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    absolute = os.path.realpath(os.fsdecode(path))
    return "" if absolute == os.devnull or any(cache in absolute for cache in CACHES) else absolute
