"""A server of a few named files for one page, on the loopback alone and below a path that nobody can guess."""

from __future__ import annotations

import contextlib
import io
import mimetypes
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next, a page is isolated and has a clock of 5 µs
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
TYPES = mimetypes.MimeTypes()  # Python's own, whatever this machine knows
Source = Path | bytes


@contextlib.contextmanager
def serve(files: Mapping[str, Source]) -> Iterator[str]:
    """Serve `files`, by their path below the address that is returned, which ends with a slash."""
    prefix = f"/{secrets.token_urlsafe()}/"
    with ThreadingHTTPServer(
        (HOST, 0), partial(_Handler, {prefix + path: file for path, file in files.items()})
    ) as own:
        thread = threading.Thread(target=own.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{own.server_port}{prefix}"
        finally:
            own.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # of a connection that says nothing

    def __init__(self, files: Mapping[str, Source], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def handle(self) -> None:
        """Answer until the browser ends, which may be at any time."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with a file, or that there is none."""
        source = self._files.get(self.path)
        if source is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as content:
            size = content.seek(0, io.SEEK_END)
            content.seek(0)
            self.send_response(HTTPStatus.OK)
            kind = TYPES.guess_type(self.path)[0] or "application/octet-stream"
            for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(size)}.items():
                self.send_header(name, value)
            self.end_headers()
            shutil.copyfileobj(content, self.wfile)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
