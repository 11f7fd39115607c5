"""Clients of the service that behave, are slow, break off, or attack; each checks its own answer."""

import base64
import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.helpers.served import Answer, Served, ask, form, read_all

Expected = Sequence[tuple[bytes, list[dict[str, Any]]]]  # images and their tags
POST = b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
HEAD = POST + b"image/jpeg\r\n"


@dataclass
class Crowd:
    """Runs clients at the same time against a service."""

    service: Served
    expected: Expected
    requests: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of requests that are whole and sent at once
    faults: list[BaseException] = field(default_factory=list)

    def run(self, clients: int, requests: int, seed: int = 0) -> None:
        """Send `requests` from each client; raises what went wrong first."""
        threads = [threading.Thread(target=self._client, args=(seed + number, requests)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.faults:
            raise self.faults[0]

    def p99_ms(self) -> float:
        """Of the good requests."""
        return 1000 * sorted(self.seconds)[int(0.99 * len(self.seconds))]

    def _client(self, seed: int, requests: int) -> None:
        chance = random.Random(seed)
        try:
            with contextlib.closing(self.service.open()) as connection:
                for _ in range(requests):
                    if chance.random() < 0.7:
                        self._good(chance, connection)
                        continue
                    connection.close()  # or the service would, during a long pause; it opens again by itself
                    other = chance.choice([slow, *BROKEN])
                    other(self, chance)
                    self.requests[other.__name__] += 1
        except BaseException as cause:
            self.faults.append(cause)

    def _good(self, chance: random.Random, connection: Any) -> None:
        kind = chance.choice(("raw", "form", "json", "chunked"))
        chosen = chance.choices(self.expected, k=1 if kind in ("raw", "chunked") else chance.randint(1, 4))
        images = [image for image, _ in chosen]
        body, content_type = bodies(kind, images)
        began = time.monotonic()
        answer = ask(connection, "POST", "/tag", body, Content_Type=content_type)
        self.seconds.append(time.monotonic() - began)
        self.requests[kind] += 1
        assert answer.status == 200, answer
        check(answer.json, [tags for _, tags in chosen])


def bodies(kind: str, images: list[bytes]) -> tuple[Any, str]:
    """A body that holds the images, and its type."""
    if kind == "form":
        return form(*[(f"{number}.jpg", image) for number, image in enumerate(images)])
    if kind == "json":
        return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}), "application/json"
    return (images[0] if kind == "raw" else iter([images[0][:700], images[0][700:]])), "image/jpeg"


def check(answer: Any, expected: list[list[dict[str, Any]]]) -> None:
    """Every image has the tags that `tag` prints."""
    results = answer["images"]
    assert len(results) == len(expected)
    for result, tags in zip(results, expected, strict=True):
        assert [tag["label"] for tag in result["tags"]] == [tag["label"] for tag in tags]
        assert [tag["score"] for tag in result["tags"]] == pytest.approx([tag["score"] for tag in tags], abs=1e-5)


def slow(crowd: Crowd, chance: random.Random) -> None:
    """A good request in pieces, with pauses."""
    image, tags = chance.choice(crowd.expected)
    sent = HEAD + f"Connection: close\r\nContent-Length: {len(image)}\r\n\r\n".encode() + image
    with crowd.service.connect() as client:
        for at in range(0, len(sent), len(sent) // 8):
            client.sendall(sent[at : at + len(sent) // 8])
            time.sleep(0.02)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    check(json.loads(answer.partition(b"\r\n\r\n")[2]), [tags])


def expect(crowd: Crowd, sent: bytes, *statuses: int) -> None:
    """One answer with one of the statuses, and the end of the connection."""
    answer = crowd.service.raw(sent)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert int(answer.split(b" ", 2)[1]) in statuses, answer


def closed_half_way(crowd: Crowd, chance: random.Random) -> None:
    image, _ = chance.choice(crowd.expected)
    sent = HEAD + f"Content-Length: {len(image)}\r\n\r\n".encode() + image
    with crowd.service.connect() as client:
        client.sendall(sent[: chance.randrange(len(sent) - 1)])


def reset_half_way(crowd: Crowd, chance: random.Random) -> None:
    with crowd.service.connect() as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\nhalf")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def gone_before_the_answer(crowd: Crowd, chance: random.Random) -> None:
    image, _ = chance.choice(crowd.expected)
    with crowd.service.connect() as client:
        client.sendall(HEAD + f"Content-Length: {len(image)}\r\n\r\n".encode() + image)


def length_too_long(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, HEAD + b"Content-Length: 20\r\n\r\nshort", 408)


def length_too_short(crowd: Crowd, chance: random.Random) -> None:
    """The rest of the body is taken for another request, and refused."""
    image, _ = chance.choice(crowd.expected)
    answer = crowd.service.raw(HEAD + b"Content-Length: 100\r\n\r\n" + image + b"\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"error" in answer
    assert answer.count(b"HTTP/1.1 400 ") + answer.count(b"HTTP/1.1 431 ") == 1


def garbage(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, chance.randbytes(400) + b"\n", 400, 408)


def broken_form(crowd: Crowd, chance: random.Random) -> None:
    body, kind = form(("a", b"x" * 500))
    cut = body[: chance.randrange(1, len(body) - 10)]
    answer = crowd.service.ask("POST", "/tag", cut, Content_Type=kind)
    assert answer.status == 400, answer


def broken_json(crowd: Crowd, chance: random.Random) -> None:
    for body, status in ((b"[" * 50_000, 413), (b'{"image": "/etc/passwd"', 400), (b'{"path": "/etc/passwd"}', 400)):
        assert crowd.service.ask("POST", "/tag", body, Content_Type="application/json").status == status


def no_image(crowd: Crowd, chance: random.Random) -> None:
    (result,) = crowd.service.tag(chance.randbytes(3000)).json["images"]
    assert "got unknown bytes" in result["error"]


def cut_image(crowd: Crowd, chance: random.Random) -> None:
    """One bad image loses no other."""
    image, tags = chance.choice(crowd.expected)
    body, kind = form(("cut.jpg", image[:200]), ("whole.jpg", image))
    answer: Answer = crowd.service.ask("POST", "/tag", body, Content_Type=kind)
    cut, whole = answer.json["images"]
    assert "expected" in cut["error"]
    check({"images": [whole]}, [tags])


def huge_length(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 5000, 413)


def many_headers(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, HEAD + b"a: b\r\n" * 5000, 431)


def long_header(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, HEAD + b"a: " + b"b" * 500_000, 431)


def two_lengths(crowd: Crowd, chance: random.Random) -> None:
    hidden = b"0\r\n\r\nGET /labels HTTP/1.1\r\nHost: localhost\r\n\r\n"
    expect(crowd, HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + hidden, 400)
    expect(crowd, HEAD + b"Content-Length: 4\r\nContent-Length: 40\r\n\r\n" + hidden, 400)
    expect(crowd, HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + hidden, 400)
    expect(crowd, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + hidden, 501)


def other_paths(crowd: Crowd, chance: random.Random) -> None:
    for path in (
        b"/../../../../etc/passwd",
        b"/tag/../../manifest.json",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"//etc/passwd",
    ):
        expect(crowd, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404)


def other_sites(crowd: Crowd, chance: random.Random) -> None:
    expect(crowd, b"GET /labels HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403)


def dribbled_head(crowd: Crowd, chance: random.Random) -> None:
    """A byte now and then, for as long as the service takes it."""
    with crowd.service.connect() as client, contextlib.suppress(ConnectionError):
        for byte in HEAD * 100:
            client.sendall(bytes([byte]))
            client.settimeout(0.05)
            try:
                assert client.recv(1000).startswith(b"HTTP/1.1 4")
                return
            except TimeoutError:
                pass
    pytest.fail("the service waits for ever")


BROKEN: Sequence[Callable[[Crowd, random.Random], None]] = (
    closed_half_way, reset_half_way, gone_before_the_answer, length_too_long, length_too_short, garbage, broken_form,
    broken_json, no_image, cut_image, huge_length, many_headers, long_header, two_lengths, other_paths, other_sites,
    dribbled_head,
)  # fmt: skip
