"""A plain static web server on this machine, as a host of the page is one."""

import functools
import http.server
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serve(folder: Path, paths: "queue.Queue[str] | None" = None) -> Iterator[str]:
    """Serve a folder; yields its address.  The path of every request goes to `paths`."""
    handler = functools.partial(_Handler, directory=str(folder), paths=paths)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, paths: "queue.Queue[str] | None", **named: Any) -> None:
        self._paths = paths
        super().__init__(*arguments, **named)

    def log_request(self, *_: Any) -> None:
        """Note the path instead of writing a line."""
        if self._paths is not None:
            self._paths.put(self.path)

    def log_message(self, *_: Any) -> None:
        """Write no line for an error."""
