"""`tagger.pyz serve` under load: good clients among slow, broken and hostile ones."""

import json
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
