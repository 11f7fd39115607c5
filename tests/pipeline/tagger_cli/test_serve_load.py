"""`tagger.pyz serve` under load: good clients among slow, broken and hostile ones."""

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import served
from tests.helpers.clients import BROKEN, Crowd, Expected
from tests.helpers.served import Served

CLIENTS = 16
WORKERS = 2
MORE_MB = 10.0  # resident memory at the end above that of the first 416 requests: malloc keeps some of what was freed


@pytest.fixture
def service(folder: Path) -> Iterator[Served]:
    with served.serve(folder, "--quiet", "--workers", WORKERS, "--read-s", 3) as running:
        yield running


@pytest.fixture
def red(images: dict[str, Path]) -> bytes:
    return images["red"].read_bytes()


@pytest.fixture
def expected(run: Any, tmp_path: Path) -> Expected:
    """Images of many sizes and colours with what `tag` prints for them."""
    generator = np.random.default_rng(0)
    files = []
    for number in range(12):
        height, width = generator.integers(20, 900, 2)
        colour = generator.choice((20, 235), 3)
        noise = generator.normal(colour, 15, (height, width, 3)).clip(0, 255).astype(np.uint8)
        files.append(tmp_path / f"{number}.{'jpg' if number % 4 else 'png'}")
        Image.fromarray(noise).save(files[-1])
    lines = run("tag", "--json", "--engine", "onnxruntime-fp32", *files)[0].splitlines()
    expected = [(file.read_bytes(), json.loads(line)["tags"]) for file, line in zip(files, lines, strict=True)]
    assert len({tuple(tag["label"] for tag in tags) for _, tags in expected}) > 3
    return expected


def check_rest(service: Served, before: tuple[int, int]) -> None:
    """Threads but the workers, files, connections and bodies are those of the start; nothing went wrong."""
    threads, files = before
    served.wait_for(lambda: service.metric("connections") == 1)
    served.wait_for(lambda: service.holds()[1] == files)
    assert service.holds()[0] <= threads + WORKERS
    assert service.metric("body_bytes") == service.metric("in_flight") == 0
    assert not [line for line in service.log if "Error" in line or "Traceback" in line], service.log


def test_no_good_request_is_lost_among_bad_ones(service: Served, expected: Expected) -> None:
    before, crowd = service.holds(), Crowd(service, expected)
    crowd.run(8, 12)
    assert crowd.requests.total() == 96
    for kind in ("raw", "form", "json", "chunked", "slow"):
        assert crowd.requests[kind]
    check_rest(service, before)


@pytest.fixture
def large(service: Served) -> tuple[bytes, str]:
    """A request that keeps the workers busy for long."""
    stream = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(stream, "PNG")
    return served.form(*[("a", stream.getvalue())] * 32)


def start(client: socket.socket, body: bytes, kind: str) -> None:
    head = f"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)


def test_a_small_request_is_answered_before_large_ones(service: Served, large: tuple[bytes, str], red: bytes) -> None:
    with service.connect() as first, service.connect() as second:
        for client in (first, second):
            start(client, *large)
        served.wait_for(lambda: service.metric("in_flight") == 2)
        assert service.tag(red).status == 200
        assert service.metric('requests_total{path="/tag",status="200"}') == 1
        for client in (first, second):
            assert client.recv(12) == b"HTTP/1.1 200"


def test_images_of_a_client_that_has_left_are_skipped(service: Served, large: tuple[bytes, str], red: bytes) -> None:
    with service.connect() as client:
        start(client, *large)
        served.wait_for(lambda: service.metric("in_flight") == 1)
    served.wait_for(lambda: service.metric('rejected_total{reason="client_left"}') == 1)
    assert service.metric("in_flight") == service.metric("body_bytes") == 0
    assert service.tag(red).status == 200
    assert service.metric("images_total") == 1
    with service.connect() as client:
        start(client, *large)
        served.wait_for(lambda: service.metric("in_flight") == 1)
    assert service.stop() == 0


def test_a_client_that_sends_ahead_and_stays_is_answered(service: Served, large: tuple[bytes, str]) -> None:
    with service.connect() as client:
        start(client, *large)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert served.read_all(client).count(b"HTTP/1.1 200") == 2


@pytest.mark.slow
def test_a_thousand_requests_leave_nothing_behind(service: Served, expected: Expected) -> None:
    before, crowd, rss_mb = service.holds(), Crowd(service, expected), list[float]()
    for part in range(5):
        crowd.run(CLIENTS, 13, seed=100 * part)
        rss_mb.append(service.rss_mb())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(crowd.requests.items()))
    print(f"p99 {crowd.p99_ms():.0f} ms; resident {', '.join(f'{value:.0f}' for value in rss_mb)} MB; {counts}")
    assert crowd.requests.total() == 1040
    assert {broken.__name__ for broken in BROKEN} < set(crowd.requests)
    assert rss_mb[-1] - max(rss_mb[:2]) < MORE_MB
    check_rest(service, before)
