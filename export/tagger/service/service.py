"""Paths of the service and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TypeVar

from export import __version__
from export.tagger.output import Result
from export.tagger.service.access import Access
from export.tagger.service.body import Body, Budget
from export.tagger.service.head import Head
from export.tagger.service.limits import MB, Limits
from export.tagger.service.metrics import CONTENT_TYPE, Metrics
from export.tagger.service.queue import Queue
from export.tagger.service.responses import BusyError, HttpError, Response, as_json
from export.tagger.service.tagging import Decide, RequestTagger, read_options
from export.tagger.service.uploads import ContentType, content_type
from export.tagger.tagger import Tagger

Handler = Callable[[Head, Body], Awaitable[Response]]
T = TypeVar("T")
LOOK_S = 0.1  # between two looks whether the client is still there
OTHER = "other"  # in the metrics, for all unknown paths


class Service:
    """Answers requests; one event loop uses it."""

    def __init__(self, tagger: Tagger, access: Access, limits: Limits, doubtful: Collection[str] = ()) -> None:
        self.tagger, self.access, self.limits = tagger, access, limits
        self.queue = Queue(tagger.workers, limits)
        self.budget = Budget(limits.bodies_mb * MB)
        self.stopping = False
        self.connections = 0
        self._request_tagger = RequestTagger(tagger, doubtful, limits.images, limits.megapixels)
        entry, runtime = tagger.choice.entry, tagger.runtime_info
        self.metrics = Metrics(
            {"version": __version__, "recipe": tagger.manifest.recipe, "engine": entry.name, "runtime": runtime.version}
        )
        get = ("GET", "HEAD")
        self._routes: dict[str, tuple[tuple[str, ...], Handler]] = {
            "/tag": (("POST",), self._tag),
            "/healthz": (get, self._health),
            "/metrics": (get, self._metrics),
            "/labels": (get, self._labels),
        }

    async def answer(self, head: Head, body: Body) -> Response:
        """The answer to a request.  Raises HttpError if it is refused."""
        self.access.check(head)
        if head.path not in self._routes:
            raise HttpError(404, f"path: expected one of {', '.join(self._routes)}, got another one")
        methods, handler = self._routes[head.path]
        if head.method not in methods:
            allowed = ", ".join(methods)
            raise HttpError(405, f"method: expected {allowed}, got {head.method}", {"Allow": allowed})
        return await handler(head, body)

    def count(self, head: Head | None, status: int) -> None:
        """Count an answer; `head` is None if it could not be read."""
        path = head.path if head is not None and head.path in self._routes else OTHER
        self.metrics.requests[path, status] += 1

    async def _tag(self, head: Head, body: Body) -> Response:
        if self.stopping:
            raise BusyError("stopping", "service: expected it running, got it stopping; try again")
        began = asyncio.get_running_loop().time()
        options, kind = read_options(head.query), content_type(head.headers.get("content-type"))
        decide = self._request_tagger.decide(options)
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            raise HttpError(415, "header Content-Encoding: expected identity, got another one; send plain bytes")
        await body.read(self.limits, self.budget, self.limits.read_s)
        tagged = await self._unless_client_leaves(body, self._wait_and_tag(kind, body, decide))
        self.metrics.images += len(tagged)
        self.metrics.image_errors += sum(isinstance(result, ValueError) for _, result in tagged)
        self.metrics.observe(asyncio.get_running_loop().time() - began)
        return Response(body=self._request_tagger.as_json(tagged, options))

    async def _wait_and_tag(self, kind: ContentType, body: Body, decide: Decide) -> list[tuple[str, Result]]:
        async with self.queue.turn() as turn:
            return await self._request_tagger.tag(turn, kind, body, decide)

    async def _unless_client_leaves(self, body: Body, work: Coroutine[None, None, T]) -> T:
        """The result of the work, which ends if nobody is left to read it.  Raises ConnectionAbortedError then."""
        task = asyncio.create_task(work)
        try:
            while not task.done() and not body.is_client_gone():
                await asyncio.wait({task}, timeout=LOOK_S)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        self.metrics.rejected["client_left"] += 1
        raise ConnectionAbortedError

    async def _health(self, *_: object) -> Response:
        return as_json({"state": "stopping" if self.stopping else "ready"}, 503 if self.stopping else 200)

    async def _labels(self, *_: object) -> Response:
        entry, manifest = self.tagger.choice.entry, self.tagger.manifest
        thresholds = dict(zip(manifest.labels, entry.thresholds, strict=True))
        facts = {"recipe": manifest.recipe, "image_px": manifest.image_px, "precision": entry.precision}
        return as_json({"engine": entry.name, **facts, "thresholds": thresholds})

    async def _metrics(self, *_: object) -> Response:
        gauges = {
            "queue_depth": self.queue.waiting,
            "in_flight": self.queue.in_flight,
            "connections": self.connections,
            "body_bytes": self.budget.held,
        }
        return Response(body=self.metrics.render(gauges).encode(), content_type=CONTENT_TYPE)
