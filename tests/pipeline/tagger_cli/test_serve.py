"""`tagger.pyz serve`: answers of a running service to clients that behave."""

import base64
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from export.bundle.bundle import read_bundle
from tests.helpers import bundles, served
from tests.helpers.served import Served, ask, form

Images = dict[str, Path]


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Served]:
    with served.serve(folder, "--images", 4, "--megapixels", 1, "--body-mb", 1, "--read-s", 30) as running:
        yield running


@pytest.fixture(scope="module")
def jpegs(images: Images) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in images.items()}


def labels(answer: served.Answer) -> list[list[str]]:
    assert answer.status == 200, answer
    return [[tag["label"] for tag in image["tags"]] for image in answer.json["images"]]


def test_the_answer_is_that_of_tag(service: Served, jpegs: dict[str, bytes], images: Images, run: Any) -> None:
    answer = service.tag(jpegs["yellow"])
    printed = run.json("tag", "--json", "--engine", "onnxruntime-fp32", images["yellow"])
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["engine"] == "onnxruntime-fp32"
    ((name, tags),) = [tuple(image.values()) for image in answer.json["images"]]
    assert name == "1"
    assert tags == [{"label": tag["label"], "score": pytest.approx(tag["score"], abs=1e-5)} for tag in printed["tags"]]


def test_forms_and_json_hold_several_images(service: Served, jpegs: dict[str, bytes]) -> None:
    body, kind = form(("r.jpg", jpegs["red"]), ("../../etc/passwd", b"no image"), ("b", jpegs["blue"]))
    red, broken, blue = service.ask("POST", "/tag", body, Content_Type=kind).json["images"]
    assert (red["image"], red["tags"][0]["label"], blue["tags"][0]["label"]) == ("r.jpg", "red", "blue")
    assert broken["image"] == "../../etc/passwd"
    assert "got unknown bytes" in broken["error"]
    texts = [base64.b64encode(jpegs[name]).decode() for name in ("green", "blue")]
    for content, expected in (({"images": texts}, [["green"], ["blue"]]), ({"image": texts[1]}, [["blue"]])):
        assert labels(service.ask("POST", "/tag", json.dumps(content), Content_Type="application/json")) == expected


def test_parameters_are_those_of_tag(service: Served, jpegs: dict[str, bytes]) -> None:
    assert labels(service.tag(jpegs["red"], "?threshold=0&top_k=2")) == [["red", "green"]]
    assert labels(service.tag(jpegs["yellow"], "?labels=blue,%22green%22")) == [["green"]]


def test_tags_that_are_worth_little_are_marked(folder: Path, jpegs: dict[str, bytes], tmp_path: Path) -> None:
    hardly = bundles.changed(folder, tmp_path / "bundle", {}, onnxruntime={"expected_precision": (0.1, 0.9, 0.9)})
    with served.serve(hardly, "--engine", "onnxruntime-fp32") as running:
        ((tag,),) = (image["tags"] for image in running.tag(jpegs["red"]).json["images"])
        assert (tag["label"], tag["doubtful"]) == ("red", True)
        ((tag,),) = (image["tags"] for image in running.tag(jpegs["red"], "?threshold=0.5").json["images"])
        assert "doubtful" not in tag


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?threshold=2", "threshold: expected a score of 0 to 1, got 2"),
        ("?threshold=x", "query: expected threshold=NUMBER"),
        ("?top_k=0", "top_k: expected at least 1"),
        ("?labels=gren", "did you mean green"),
        ("?labels=", "query: expected threshold=NUMBER"),
        ("?labels=a%0Ab", "query: expected threshold=NUMBER"),
        ("?top_k=1&top_k=2", "expected each parameter once"),
        ("?path=/etc/passwd", "got 'path'"),
        ("?top_k", "query: expected threshold=NUMBER"),
    ],
)
def test_wrong_parameters_are_named(service: Served, jpegs: dict[str, bytes], query: str, message: str) -> None:
    answer = service.tag(jpegs["red"], query)
    assert answer.status == 400
    assert message in answer.error


def test_a_chunked_body_and_a_question_before_it(service: Served, jpegs: dict[str, bytes]) -> None:
    pieces = iter([jpegs["red"][:100], jpegs["red"][100:]])
    answer = service.ask("POST", "/tag", pieces, Content_Type="image/jpeg")
    assert labels(answer) == [["red"]]
    head = (
        f"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpegs['red'])}\r\n"
    )
    with service.connect() as client:
        client.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(jpegs["red"])
        assert served.read_all(client).startswith(b"HTTP/1.1 200 OK")


def test_a_body_that_will_be_refused_is_not_asked_for(service: Served) -> None:
    head = "POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nExpect: 100-continue\r\n"
    answer = service.raw(f"{head}Content-Length: 2000000\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_connection_is_kept_and_requests_may_be_sent_ahead(service: Served, jpegs: dict[str, bytes]) -> None:
    with contextlib.closing(service.open()) as connection:
        for name in ("red", "blue"):
            assert labels(ask(connection, "POST", "/tag", jpegs[name], Content_Type="image/jpeg")) == [[name]]
        assert ask(connection, "GET", "/none").status == 404
        assert ask(connection, "GET", "/healthz").json == {"state": "ready"}
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert service.raw(one * 2 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).count(b"200 OK") == 3
    assert service.raw(b"GET /healthz HTTP/1.0\r\n\r\n").count(b"Connection: close") == 1


def test_head_has_no_body(service: Served) -> None:
    answer = service.ask("HEAD", "/labels")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(service.ask("GET", "/labels").body)


def test_labels_have_the_thresholds_of_the_engine(service: Served, folder: Path) -> None:
    entry = read_bundle(folder).engine("onnxruntime-fp32")
    facts = service.ask("GET", "/labels").json
    assert facts["thresholds"] == dict(zip(("red", "green", "blue"), entry.thresholds, strict=True))
    assert (facts["engine"], facts["recipe"], facts["image_px"]) == ("onnxruntime-fp32", "colours", 16)


@pytest.mark.parametrize(
    ("status", "method", "path", "headers", "message"),
    [
        (404, "GET", "/", {}, "path: expected one of /tag, /healthz"),
        (404, "GET", "/../../etc/passwd", {}, "path: expected one of"),
        (405, "GET", "/tag", {}, "method: expected POST, got GET"),
        (405, "OPTIONS", "/tag", {}, "method: expected POST, got OPTIONS"),
        (405, "DELETE", "/labels", {}, "method: expected GET, HEAD, got DELETE"),
        (403, "GET", "/labels", {"Host": "evil.example"}, "header Host"),
        (403, "GET", "/labels", {"Origin": "http://evil.example"}, "header Origin"),
        (415, "POST", "/tag", {"Content_Type": "text/plain"}, "header Content-Type: expected image/*"),
        (415, "POST", "/tag", {"Content_Type": "image/png", "Content_Encoding": "gzip"}, "header Content-Encoding"),
        (400, "POST", "/tag", {"Content_Type": "application/json"}, "body: expected JSON"),
        (400, "POST", "/tag", {"Content_Type": "multipart/form-data; boundary=a"}, "body: expected the boundary"),
    ],
)
def test_errors_say_what_was_expected(
    service: Served, status: int, method: str, path: str, headers: dict[str, str], message: str
) -> None:
    answer = service.ask(method, path, b"x" if method == "POST" else None, **headers)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert message in answer.error
    assert answer.headers.get("Allow") == ({"/tag": "POST"}.get(path, "GET, HEAD") if status == 405 else None)
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_sizes_are_limited(service: Served, jpegs: dict[str, bytes], tmp_path: Path) -> None:
    assert "expected at most 1000000 bytes, got 1000001" in service.tag(b"x" * 1_000_001).error
    endless = service.ask("POST", "/tag", iter([b"x" * 600_000] * 9), Content_Type="image/jpeg")
    assert endless.status == 413
    body, kind = form(*[("a", jpegs["red"])] * 5)
    assert service.ask("POST", "/tag", body, Content_Type=kind).status == 413
    Image.new("L", (1001, 1000)).save(tmp_path / "large.png")
    (large,) = service.tag((tmp_path / "large.png").read_bytes()).json["images"]
    assert large["error"] == "image: expected at most 1000000 pixels, got 1001000; reduce it"
    no_length = b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n\r\n"
    assert service.raw(no_length).startswith(b"HTTP/1.1 411 ")


def test_metrics_count(service: Served, jpegs: dict[str, bytes]) -> None:
    names = ("images_total", "image_errors_total", 'requests_total{path="/tag",status="200"}', "tag_seconds_count")
    before = [service.metric(name) for name in names]
    others = service.metric('requests_total{path="other",status="404"}')
    body, kind = form(("a", jpegs["red"]), ("b", b"no image"))
    service.ask("POST", "/tag", body, Content_Type=kind)
    service.ask("GET", "/" + "a" * 500)
    assert [service.metric(name) - was for name, was in zip(names, before, strict=True)] == [2, 1, 1, 1]
    assert service.metric('requests_total{path="other",status="404"}') == others + 1
    assert service.metric('tag_seconds_bucket{le="+Inf"}') == before[3] + 1
    assert service.metric("connections") == 1
    assert (service.metric("queue_depth"), service.metric("in_flight"), service.metric("body_bytes")) == (0, 0, 0)
    text = service.ask("GET", "/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'recipe="colours",engine="onnxruntime-fp32",runtime="onnxruntime ' in text.body.decode()


def test_a_line_a_request_is_logged_without_control_characters(service: Served) -> None:
    service.raw(b"GET /a\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n")
    service.raw(b"GET http://localhost/%0a?token=secret HTTP/1.0\r\n\r\n")
    served.wait_for(lambda: any("GET /%0a 404 " in line for line in service.log))
    assert any(line.startswith("tagger: 127.0.0.1 - - 400 ") and line.endswith(" ms\n") for line in service.log)
    assert "secret" not in "".join(service.log)
    assert "\x1b" not in "".join(service.log)


def test_requests_in_flight_are_answered_after_a_signal(folder: Path, jpegs: dict[str, bytes]) -> None:
    with (
        served.serve(folder, "--quiet") as service,
        service.connect() as client,
        contextlib.closing(service.open()) as kept,
    ):
        assert ask(kept, "GET", "/healthz").status == 200
        client.sendall(b"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n")
        client.sendall(f"Content-Length: {len(jpegs['red'])}\r\n\r\n".encode() + jpegs["red"][:50])
        served.wait_for(lambda: service.metric("body_bytes") == 50)
        service.process.send_signal(signal.SIGTERM)
        served.wait_for(lambda: any("stopping; 1 requests in flight" in line for line in service.log))
        assert ask(kept, "GET", "/healthz").status == 503
        with pytest.raises(ConnectionRefusedError):
            service.connect()
        client.sendall(jpegs["red"][50:])
        answer = served.read_all(client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        assert service.process.wait(served.LONG_S) == 0
        assert not [line for line in service.log if "POST" in line], "--quiet"


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with served.serve(folder) as service, service.connect() as client:
        client.sendall(b"GET /")
        served.wait_for(lambda: service.metric("connections") == 2)
        service.process.send_signal(signal.SIGINT)
        served.wait_for(lambda: any("stopping" in line for line in service.log))
        assert service.stop() == 130


def test_requests_that_do_not_end_are_left_after_the_time_to_stop(folder: Path) -> None:
    with served.serve(folder, "--stop-s", 0.2) as service, service.connect() as client:
        client.sendall(b"GET /")
        served.wait_for(lambda: service.metric("connections") == 2)
        time.sleep(0.1)
        assert service.stop() == 1
        assert service.log[-1] == "tagger: stopped after 0.2 s with requests in flight\n"
