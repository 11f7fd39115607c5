"""Answers of the service and their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus

from export.tagger.output import printable
from export.tagger.service.limits import RETRY_S

JSON = "application/json"


class HttpError(Exception):
    """A request is refused; its message goes to the client."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


class BusyError(HttpError):
    """A limit is reached for the moment; `reason` is a label of the metric of rejected requests."""

    def __init__(self, reason: str, message: str, status: int = 503) -> None:
        super().__init__(status, message, {"Retry-After": str(RETRY_S)})
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Response:
    """A whole answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, *, close: bool, with_body: bool = True) -> bytes:
        """The bytes to send; without the body for HEAD."""
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close" if close else "keep-alive",
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body if with_body else b"")


def as_json(facts: object, status: int = 200) -> Response:
    """A JSON answer in one line."""
    return Response(status=status, body=json.dumps(facts).encode() + b"\n")


def error_response(cause: HttpError) -> Response:
    """A JSON object with the message as `error`."""
    return replace(as_json({"error": printable(str(cause))}, cause.status), headers=cause.headers)
