"""Listens, counts connections, and stops in order after a signal."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Collection

from export.tagger.service.access import Access
from export.tagger.service.connection import Connection
from export.tagger.service.limits import HEAD_BYTES, Limits
from export.tagger.service.responses import BusyError
from export.tagger.service.service import Service
from export.tagger.tagger import Tagger

_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
ENDED = 130  # exit code after a second signal
IDLE_S = 1.0  # after which a connection may be closed for another one; its next request could be on the way before
PAUSE_S = 0.1  # when the process has no file descriptor left, and between two looks at the requests in flight


def listen(host: str, port: int) -> tuple[socket.socket, bool]:
    """A listening socket, and whether only this machine reaches it.

    It listens at once, because two sockets may have one address until one of them listens; clients wait until the
    service accepts.  Raises OSError for an address that is not free, ValueError for a host that is unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as cause:
        raise ValueError(f"host {host}: expected an address of this machine, got {cause.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError as cause:
        listener.close()
        raise OSError(f"{host} port {port}: expected a free address of this machine, got {cause.strerror}") from None
    listener.setblocking(False)
    return listener, ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


def serve(
    tagger: Tagger,
    listener: socket.socket,
    access: Access,
    limits: Limits,
    *,
    tls: ssl.SSLContext | None = None,
    doubtful: Collection[str] = (),
) -> bool:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Returns:
        Whether all requests in flight were answered.  Otherwise a thread may still be at work.
    """

    async def run() -> bool:
        return await Server(Service(tagger, access, limits, doubtful), listener, tls).run()

    return asyncio.run(run())


class Server:
    """Accepts connections for a service."""

    def __init__(self, service: Service, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._service, self._listener, self._tls = service, listener, tls
        self._tasks: dict[asyncio.Task[None], Connection | None] = {}
        self._clients: Counter[str] = Counter()
        self._stop = asyncio.Event()

    async def run(self) -> bool:
        """Serve until a signal; returns whether all requests in flight were answered."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        accepting = asyncio.create_task(self._accept())
        host, port = self._listener.getsockname()[:2]
        _log.info(
            "listening on %s://%s:%d", "https" if self._tls else "http", f"[{host}]" if ":" in host else host, port
        )
        await self._stop.wait()
        accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await accepting
        self._listener.close()
        return await self._finish()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            os._exit(ENDED)
        self._service.stopping = True
        self._stop.set()

    async def _finish(self) -> bool:
        """Wait for the requests in flight, then close all connections."""
        _log.info("stopping; %d requests in flight", self._busy())
        loop = asyncio.get_running_loop()
        until = loop.time() + self._service.limits.stop_s
        while self._busy() and loop.time() < until:
            await asyncio.sleep(PAUSE_S)
        finished = not self._busy()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._service.queue.close()
        return finished

    def _busy(self) -> int:
        return sum(connection is not None and connection.idle_since is None for connection in self._tasks.values())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except OSError as cause:  # no file descriptor left, or a client that has gone
                _log.warning("connection not accepted: %s", cause.strerror)
                await asyncio.sleep(PAUSE_S)
                continue
            self._start(accepted, str(address[0]))
            await asyncio.sleep(0)  # sock_accept() lets nothing else run while clients are waiting

    def _start(self, accepted: socket.socket, client: str) -> None:
        refusal = self._refusal(client)
        if refusal is not None:
            self._service.metrics.rejected[refusal.reason] += 1
            if self._tls or len(self._tasks) >= 2 * self._service.limits.connections:  # no room even for an answer
                accepted.close()
                return
        task = asyncio.create_task(self._serve(accepted, client, refusal))
        self._tasks[task] = None
        self._clients[client] += 1
        self._service.connections = len(self._tasks)
        task.add_done_callback(functools.partial(self._forget, client))

    def _forget(self, client: str, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._clients -= Counter([client])  # drops those without connections
        self._service.connections = len(self._tasks)
        if not task.cancelled() and task.exception() is not None:
            _log.error("connection: %s", task.exception())

    def _refusal(self, client: str) -> BusyError | None:
        """Why another connection is too many; the longest idle one makes room."""
        limits = self._service.limits
        if self._clients[client] >= limits.client_connections:
            message = f"connections: expected at most {limits.client_connections} of one address, got more"
            return BusyError("client_connections", message, 429)
        if len(self._tasks) < limits.connections:
            return None
        opened = [connection for connection in self._tasks.values() if connection is not None]
        idle = max(opened, key=Connection.idle_s, default=None)
        if idle is None or idle.idle_s() < IDLE_S:
            return BusyError("connections", f"connections: expected at most {limits.connections}, got more; try again")
        idle.abort()
        return None

    async def _serve(self, accepted: socket.socket, client: str, refusal: BusyError | None) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        timeout = self._service.limits.read_s if self._tls else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError:  # no TLS, or the client has left
            accepted.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = Connection(reader, writer, self._service, client)
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = connection
        await connection.run(refusal)
