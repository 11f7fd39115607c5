"""Tokens, certificates and addresses."""

from pathlib import Path

import pytest

from export.tagger.service.access import Access, check_exposure, read_token, tls_context
from export.tagger.service.head import parse_head
from export.tagger.service.responses import HttpError

TOKEN = "0123456789abcdef"


def refused(access: Access, *headers: str, path: str = "/labels", host: str = "localhost:8765") -> int:
    """The status with which a request is refused, or 0."""
    try:
        access.check(parse_head([f"GET {path} HTTP/1.1", f"Host: {host}", *headers]))
    except HttpError as cause:
        return cause.status
    return 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:80"])
def test_names_of_this_machine(host: str) -> None:
    assert refused(Access(token=None, local=True), host=host) == 0


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "192.168.0.1",
        "[::2]",
        "[::1",
        "::1:a",
    ],
)
def test_a_name_that_resolves_to_this_machine_is_refused(host: str) -> None:
    assert refused(Access(token=None, local=True), host=host) == 403
    assert refused(Access(token=None, local=False), host=host) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: http://localhost:8765"], 0),
        (["Sec-Fetch-Site: same-origin"], 0),
        (["Sec-Fetch-Site: none"], 0),
        (["Origin: http://evil.example"], 403),
        (["Origin: http://localhost"], 403),
        (["Origin: null"], 403),
        (["Origin:"], 403),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site"], 403),
    ],
)
def test_web_pages_of_other_sites_are_refused(headers: list[str], status: int) -> None:
    assert refused(Access(token=None, local=True), *headers) == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 0),
        (f"bearer {TOKEN}", 0),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("", 401),
        ("Bearer \xe9", 401),
    ],
)
def test_only_the_token_opens(header: str, status: int) -> None:
    access = Access(token=TOKEN, local=False)
    assert refused(access, f"Authorization: {header}") == status
    assert refused(access, f"Authorization: {header}", path="/healthz") == 0
    assert refused(access) == 401


def test_other_machines_need_a_token_and_encryption() -> None:
    check_exposure("127.0.0.1", local=True, behind_proxy=False, has_token=False, encrypted=False)
    check_exposure("0.0.0.0", local=False, behind_proxy=False, has_token=True, encrypted=True)
    check_exposure("0.0.0.0", local=False, behind_proxy=True, has_token=True, encrypted=False)
    for has_token, encrypted, message in ((False, True, "--token-file"), (True, False, "--tls-cert")):
        with pytest.raises(ValueError, match=message):
            check_exposure("0.0.0.0", local=False, behind_proxy=False, has_token=has_token, encrypted=encrypted)


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for mode in (0o600, 0o400, 0o640):
        file.chmod(mode)
        assert read_token(file) == TOKEN


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o602])
def test_secrets_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(mode)
    with pytest.raises(ValueError, match=f"got mode {mode:o}"):
        read_token(file)
    with pytest.raises(ValueError, match=f"got mode {mode:o}"):
        tls_context(file, file)


@pytest.mark.parametrize("text", ["", "short", "0123456789 abcdef", "0123456789abcdé!", "0123456789\nabcdef"])
def test_a_weak_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ValueError, match="expected a token of at least 16"):
        read_token(file)


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "private"):
        folder.mkdir(0o700, exist_ok=True)
        with pytest.raises(ValueError, match="expected a file, got a folder"):
            read_token(folder)


def test_files_that_are_no_certificate_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("nothing")
    file.chmod(0o600)
    with pytest.raises(ValueError, match="expected a certificate and its unencrypted key"):
        tls_context(file, file)
    with pytest.raises(ValueError, match="none: expected a file that can be read, got No such file"):
        tls_context(file, tmp_path / "none")
    with pytest.raises(ValueError, match="got No such file"):
        tls_context(tmp_path / "none", file)
