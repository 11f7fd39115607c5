"""`tagger.pyz tag --watch`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK

if TYPE_CHECKING:
    from export.tagger.parallel import ImageFile, Tagged
    from pipeline.tagger_cli.results import Results

INTERVAL_S = 5.0
REST = 19  # pause in processor times of a scan: scanning takes at most a twentieth of a core


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of --watch to the command tag."""
    text = "keep tagging what arrives in the folders, until Ctrl-C or SIGTERM"
    parser.add_argument("--watch", action="store_true", help=text)
    text = f"with --watch: seconds between two scans; default: {INTERVAL_S:g}"
    parser.add_argument("--interval", type=_seconds, metavar="S", help=text)
    text = "with --watch: where to record what is tagged; default: a file in ~/.cache/edge-tagger"
    parser.add_argument("--state", type=Path, metavar="FILE", help=text)


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    if not options.watch and (options.interval is not None or options.state is not None):
        raise ValueError("--interval and --state: expected --watch with them, got none")
    for name in options.images if options.watch else ():
        if not Path(name).is_dir():
            raise ValueError(f"{name}: expected a folder to watch, got {'a file' if Path(name).exists() else 'none'}")


def watch(
    options: argparse.Namespace,
    tag_images: Callable[[Iterable[ImageFile]], Generator[Tagged, None, None]],
    results: Results,
) -> int:
    """Tag new and changed images until a signal ends the process."""
    from export.tagger.output import Unwritten, printable
    from export.tagger.watch_state import default_file, open_state
    from export.tagger.watching import Watcher

    interval = INTERVAL_S if options.interval is None else options.interval
    file = options.state or default_file(options.images, "xmp" if options.xmp else "")
    with _until_signalled() as ending, open_state(file) as state:
        watcher = Watcher(options.images, state)
        print(
            f"watching {printable(', '.join(watcher.folders))}; tagged images: {printable(str(file))}",
            file=sys.stderr,
            flush=True,
        )
        while not ending.is_set():
            began, busy = time.monotonic(), time.thread_time()
            found = watcher.scan()
            pause = max(interval, time.monotonic() - began, REST * (time.thread_time() - busy))
            for name, cause in found.failed:
                results.add(name, cause)
            with closing(tag_images(list(found.images))) as tagged:
                for image, tags in tagged:
                    assert isinstance(image, Path), "standard input is no folder"
                    result = results.add(str(image), tags)
                    watcher.done(image, found.images[image], remember=not isinstance(result, Unwritten))
                    if ending.is_set():
                        break
            ending.wait(pause)
    return OK


@contextlib.contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; a second one interrupts."""
    ending = threading.Event()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, _: object) -> None:
        ending.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, end)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text}")
    return value
