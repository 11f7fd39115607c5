"""`tagger.pyz serve` in a process of its own, and requests to it over real sockets."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

JPEG = {"Content-Type": "image/jpeg"}
LONG_S = 60.0  # after which a test has failed


class Answer(NamedTuple):
    """Status, headers and body of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Served:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str], tls: ssl.SSLContext | None) -> None:
        self.process, self.tls = process, tls
        self.log: list[str] = []
        self.port = self._read_port()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_port(self) -> int:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "listening on" in line:
                return int(line.rpartition(":")[2])
        raise AssertionError("".join(self.log))

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def open(self) -> http.client.HTTPConnection:
        """A connection that is kept alive."""
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=LONG_S, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; _ in the names of headers stands for -."""
        with contextlib.closing(self.open()) as connection:
            return ask(connection, method, path, body, **headers)

    def tag(self, image: bytes, query: str = "", **headers: str) -> Answer:
        return self.ask("POST", f"/tag{query}", image, **({"Content_Type": "image/jpeg"} | headers))

    def connect(self) -> socket.socket:
        """A socket."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONG_S)

    def raw(self, sent: bytes) -> bytes:
        """All that the service answers to these bytes until it closes the connection."""
        with self.connect() as client:
            client.sendall(sent)
            return read_all(client)

    def metric(self, name: str) -> float:
        """One sample by its name and labels."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"tagger_{name} ")), 0.0)

    def proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}/{name}")

    def rss_mb(self) -> float:
        """Resident memory."""
        (line,) = (line for line in self.proc("status").read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1000

    def holds(self) -> tuple[int, int]:
        """The number of threads and of file descriptors."""
        return len(list(self.proc("task").iterdir())), len(list(self.proc("fd").iterdir()))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(LONG_S)
        self.join()
        return code

    def join(self) -> None:
        """Wait for the last line of the log."""
        self._reader.join(LONG_S)


@contextlib.contextmanager
def serve(bundle: Path, *words: object, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Start the program of a bundle on a free port, with one engine that needs no choice."""
    command = [sys.executable, bundle / "tagger.pyz", "serve", "--port", 0, "--engine", "onnxruntime-fp32", *words]
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment)
    with process:
        try:
            running = Served(process, tls)
            yield running
            process.kill()
            running.join()
        finally:
            process.kill()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request; _ in the names of headers stands for -."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return Answer(answer.status, dict(answer.getheaders()), answer.read())


def read_all(client: socket.socket) -> bytes:
    """Bytes up to the end, or to a reset."""
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            read += piece
    return read


def form(*files: tuple[str, bytes], boundary: str = "b0undary") -> tuple[bytes, str]:
    """A multipart body and its content type."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode() + data
        for name, data in files
    ]
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something happens that must."""
    until = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)
