"""`tagger.pyz serve` against clients that are slow, broken or too many."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import served
from tests.helpers.served import Served

POST = b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


@pytest.fixture(scope="module")
def hasty(folder: Path) -> Iterator[Served]:
    """A service with little patience, one worker and room for few."""
    limits = ("--read-s", 1, "--connections", 8, "--client-connections", 6, "--queue", 1, "--queue-s", 20)
    with served.serve(folder, "--workers", 1, "--body-mb", 1, "--bodies-mb", 1, *limits) as running:
        yield running


@pytest.fixture(scope="module")
def red(images: dict[str, Path]) -> bytes:
    return images["red"].read_bytes()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: local", b"408"),
        (b"G", b"408"),
        (POST + b"Content-Length: 100\r\n\r\nhalf", b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf", b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 99, b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"413"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Content-Length: 99999999999\r\n\r\nx", b"413"),
        (POST + b"Content-Length: 3\r\n\r\nab", b"408"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000, b"431"),
        (b"GET /" + b"a" * 100_000, b"431"),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", b"400"),
    ],
)
def test_what_is_slow_or_wrong_is_answered_and_closed(hasty: Served, sent: bytes, status: bytes) -> None:
    assert hasty.raw(sent).startswith(b"HTTP/1.1 " + status)


def test_after_a_refused_body_nothing_of_it_is_a_request(hasty: Served) -> None:
    hidden = b"GET /labels HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sent in (
        POST.replace(b"image/jpeg", b"text/plain") + f"Content-Length: {len(hidden)}\r\n\r\n".encode() + hidden,
        b"GET /none HTTP/1.1\r\nHost: localhost\r\n" + f"Content-Length: {len(hidden)}\r\n\r\n".encode() + hidden,
        POST + b"\r\n" + hidden,
    ):
        assert hasty.raw(sent).count(b"HTTP/1.1 ") == 1


def test_an_idle_connection_is_closed_without_a_word(hasty: Served) -> None:
    assert hasty.raw(b"") == b""
    answer = hasty.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_slow_clients_hold_no_worker(hasty: Served, red: bytes) -> None:
    with contextlib.ExitStack() as slow:
        for _ in range(3):
            client = slow.enter_context(hasty.connect())
            client.sendall(POST + b"Content-Length: 1000\r\n\r\nhalf")
        served.wait_for(lambda: hasty.metric("body_bytes") == 12)
        assert hasty.tag(red).status == 200
    served.wait_for(lambda: hasty.metric("body_bytes") == 0)


def test_all_bodies_together_are_limited(hasty: Served, red: bytes) -> None:
    before = hasty.metric('rejected_total{reason="memory"}')
    with hasty.connect() as client:
        client.sendall(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 999_990)
        served.wait_for(lambda: hasty.metric("body_bytes") == 999_990)
        answer = hasty.tag(red)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "bodies: expected at most 1000000 bytes" in answer.error
    assert hasty.metric('rejected_total{reason="memory"}') == before + 1
    assert hasty.tag(red).status == 200


def test_connections_of_one_address_are_limited(hasty: Served) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(6):
            held.enter_context(hasty.connect()).sendall(b"G")
        answer = hasty.ask("GET", "/healthz")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    served.wait_for(lambda: hasty.ask("GET", "/healthz").status == 200)
    assert hasty.metric('rejected_total{reason="client_connections"}') >= 1


def test_an_idle_connection_makes_room_for_another_one(folder: Path) -> None:
    with served.serve(folder, "--connections", 2) as service, service.connect() as busy, service.connect() as idle:
        busy.sendall(b"G")
        served.wait_for(lambda: service.ask("GET", "/healthz").status == 200)
        assert served.read_all(idle) == b"", "it was closed"
        with service.connect() as other:
            other.sendall(b"G")
            served.wait_for(lambda: service.ask("GET", "/healthz").status == 503)
        served.wait_for(lambda: service.metric('rejected_total{reason="connections"}') >= 1)


def test_one_idle_connection_makes_room_for_one(folder: Path) -> None:
    """All clients have connected before the service looks."""
    with served.serve(folder, "--connections", 2, "--read-s", 3) as service, contextlib.ExitStack() as opened:
        clients = [opened.enter_context(service.connect()) for _ in range(2)]
        time.sleep(1.2)
        service.process.send_signal(signal.SIGSTOP)
        clients += [opened.enter_context(service.connect()) for _ in range(8)]
        for client in clients[2:]:
            client.sendall(b"G")
        service.process.send_signal(signal.SIGCONT)
        answers = [served.read_all(client)[9:12] for client in clients]
        assert answers[:2] == [b"", b""]
        assert 1 <= answers.count(b"408") <= 2
        assert set(answers) <= {b"408", b"503", b""}
