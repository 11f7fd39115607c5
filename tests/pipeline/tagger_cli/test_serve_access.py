"""`tagger.pyz serve` with a token and TLS, and what it refuses to start with."""

import datetime
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from export.tagger.service import listen
from pipeline.tagger_cli import main, serving
from tests.helpers import served

DOCKERFILE = Path(__file__).parents[3] / "examples/service/Dockerfile"
TOKEN = "0123456789abcdef-token"


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


def test_a_token_and_tls(folder: Path, red: bytes, secrets: tuple[Path, Path, Path]) -> None:
    token, certificate, key = secrets
    secured = ("--host", "0.0.0.0", "--token-file", token, "--tls-cert", certificate, "--tls-key", key)
    trust = ssl.create_default_context(cafile=str(certificate))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with served.serve(folder, *secured, "--body-mb", 1, "--stop-s", 9, tls=trust) as service:
        answer = service.tag(red, **bearer)
        assert [tag["label"] for tag in answer.json["images"][0]["tags"]] == ["red"]
        assert service.ask("GET", "/healthz").status == 200
        for path in ("/labels", "/metrics", "/none"):
            refused = service.ask("GET", path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert service.tag(red, Authorization="Bearer 0123456789abcdef").status == 401
        assert subprocess.run(health_check(service.port)).returncode == 0
        assert b"HTTP" not in service.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), "not encrypted"
        for _ in range(10):
            assert service.tag(b"x" * 1_500_000, **bearer).status == 413
        assert service.stop() == 0, "an answer that was sent is waited for"
        assert TOKEN not in "".join(service.log)


def health_check(port: int) -> list[str]:
    """The command of the container, for this Python and port."""
    (text,) = re.findall(r"^ +CMD (\[.*\])$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return [sys.executable, *json.loads(text.replace(":8765", f":{port}"))[1:]]


def test_plain_http_on_another_address_only_behind_a_proxy(folder: Path, red: bytes, secrets: tuple[Path, ...]) -> None:
    words = ("--host", "0.0.0.0", "--behind-proxy", "--token-file", secrets[0])
    with served.serve(folder, *words) as service:
        assert subprocess.run(health_check(service.port)).returncode == 0
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


def test_the_health_check_fails_without_a_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = subprocess.run(health_check(port), capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Connection refused" in ended.stderr


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--port", "abc"], "a number, got 'abc'"),
        (["--workers", "x"], "a number of at least 1, got x"),
        (["--read-s", ""], "a number, got ''"),
    ],
)
def test_words_that_are_no_number_are_named(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", *words])
    assert f"argument {words[0]}: expected {expected}" in capsys.readouterr().err


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
