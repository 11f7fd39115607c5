"""`tagger.pyz serve` against clients that are slow, broken or too many; with a token and TLS."""

import contextlib
import datetime
import ipaddress
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from export.tagger.service import listen
from pipeline.tagger_cli import main, serving
from tests.helpers import served
from tests.helpers.served import Served

TOKEN = "0123456789abcdef-token"
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


def write_private(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Files of a token, a certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("secrets")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tagger")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return (
        write_private(folder / "token", TOKEN.encode()),
        write_private(folder / "cert.pem", certificate.public_bytes(pem)),
        write_private(folder / "key.pem", private),
    )


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


def test_a_token_and_tls(folder: Path, red: bytes, secrets: tuple[Path, Path, Path]) -> None:
    token, certificate, key = secrets
    words = ("--host", "0.0.0.0", "--token-file", token, "--tls-cert", certificate, "--tls-key", key, "--body-mb", 1)
    trust = ssl.create_default_context(cafile=str(certificate))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with served.serve(folder, *words, tls=trust) as service:
        answer = service.tag(red, **bearer)
        assert [tag["label"] for tag in answer.json["images"][0]["tags"]] == ["red"]
        assert service.ask("GET", "/healthz").status == 200
        for path in ("/labels", "/metrics", "/none"):
            refused = service.ask("GET", path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert service.tag(red, Authorization="Bearer 0123456789abcdef").status == 401
        assert b"HTTP" not in service.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), "not encrypted"
        assert service.tag(b"x" * 1_500_000, **bearer).status == 413
        assert service.stop() == 0
        assert TOKEN not in "".join(service.log)


def test_plain_http_on_another_address_only_behind_a_proxy(folder: Path, red: bytes, secrets: tuple[Path, ...]) -> None:
    words = ("--host", "0.0.0.0", "--behind-proxy", "--token-file", secrets[0])
    with served.serve(folder, *words) as service:
        answer = service.tag(red, Authorization=f"Bearer {TOKEN}", Host="tagger.example")
        assert answer.status == 200
        assert service.tag(red).status == 401


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "host 0.0.0.0: expected --token-file FILE and --tls-cert FILE and --tls-key FILE"),
        (["--host", "::"], "expected --token-file FILE and --tls-cert FILE"),
        (["--host", "0.0.0.0", "--token-file", "TOKEN"], "expected --tls-cert FILE and --tls-key FILE"),
        (["--host", "0.0.0.0", "--behind-proxy"], "behind a proxy: expected --token-file FILE"),
        (["--behind-proxy"], "behind a proxy: expected --token-file FILE"),
        (["--host", "nowhere.invalid"], "host nowhere.invalid: expected an address of this machine"),
        (["--tls-cert", "CERT"], "expected --tls-cert and --tls-key, got one of them"),
        (["--tls-cert", "CERT", "--tls-key", "TOKEN"], "expected a certificate and its unencrypted key"),
        (["--token-file", "none"], "none: expected a file that can be read"),
        (["--body-mb", "300"], "body_mb: expected at most bodies_mb (256), got 300"),
        (["--host", "192.0.2.1"], "192.0.2.1 port 8765: expected a free address of this machine"),
        (["--engine", "none"], "none"),
    ],
)
def test_it_refuses_to_start(run: Any, secrets: tuple[Path, Path, Path], words: list[str], message: str) -> None:
    files = dict(zip(("TOKEN", "CERT", "KEY"), secrets, strict=True))
    assert message in run.refuse("serve", *(files.get(word, word) for word in words))


def test_a_port_that_is_taken_is_named(run: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}: expected a free address of this machine, got Address already" in run.refuse(
            "serve", "--port", port
        )


def test_of_two_services_that_start_together_the_second_fails_at_once() -> None:
    first, _ = listen("127.0.0.1", 0)
    with first, pytest.raises(OSError, match="expected a free address of this machine, got Address already"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("words", [["--port", "abc"], ["--workers", "x"], ["--read-s", ""]])
def test_words_that_are_no_number_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", *words])
    assert f"argument {words[0]}: expected a number, got {words[1]!r}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "70000"], ["--queue", "0"], ["--read-s", "0"], ["--queue-s", "inf"]])
def test_numbers_out_of_range_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", *words])
    assert "expected" in capsys.readouterr().err


def test_the_help_says_the_defaults() -> None:
    import dataclasses

    from export.tagger.service import Limits

    fields = {field.name: field.default for field in dataclasses.fields(Limits)}
    assert list(fields) == list(serving.LIMITS)
    for name, default in fields.items():
        assert serving.LIMITS[name][2].endswith(f"default: {default:g}")
