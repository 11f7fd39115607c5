"""Who may use the service: bearer token, TLS, and no web pages of other sites."""

from __future__ import annotations

import hmac
import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from export.tagger.service.head import Head
from export.tagger.service.responses import HttpError

SHORTEST_TOKEN = 16  # characters
FOR_OTHERS = 0o027  # written by the group, or anything by others; systemd gives credentials a readable group
HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")
OPEN_TO_ALL = ("/healthz",)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request needs besides its path; `local` if only programs of this machine reach the service."""

    token: str | None
    local: bool

    def check(self, head: Head) -> None:
        """Raise HttpError for a request that is not allowed."""
        if self.local and not _is_local(head.host):  # a name that an attacker lets resolve to 127.0.0.1
            raise HttpError(403, "header Host: expected localhost or a loopback address, got another name")
        origin = head.headers.get("origin")
        site = head.headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") or (origin is not None and origin.partition("://")[2] != head.host):
            raise HttpError(403, "header Origin: expected none or this service, got the web page of another site")
        if self.token is not None and head.path not in OPEN_TO_ALL:
            self._check_token(head.headers.get("authorization", ""))

    def _check_token(self, header: str) -> None:
        assert self.token is not None
        kind, _, given = header.partition(" ")
        equal = hmac.compare_digest(given.strip().encode(), self.token.encode())  # in constant time
        if kind.lower() != "bearer" or not equal:
            got = "another one" if header else "none"
            message = f"header Authorization: expected Bearer and the token of the service, got {got}"
            raise HttpError(401, message, {"WWW-Authenticate": "Bearer"})


def check_exposure(host: str, *, local: bool, behind_proxy: bool, has_token: bool, encrypted: bool) -> None:
    """Raise ValueError if other machines could reach the service, also by a proxy, without a token or encryption."""
    if behind_proxy and not has_token:
        raise ValueError(
            "behind a proxy: expected --token-file FILE, because other machines reach it, got none; add it"
        )
    if local or behind_proxy:
        return
    missing = [] if has_token else ["--token-file FILE"]
    if not encrypted:
        missing.append("--tls-cert FILE and --tls-key FILE (or --behind-proxy, if a proxy adds TLS)")
    if missing:
        raise ValueError(
            f"host {host}: expected {' and '.join(missing)} for an address that other machines reach, got none; "
            "add them, or use --host 127.0.0.1"
        )


def read_token(file: Path) -> str:
    """The token in a file.  Raises ValueError if it is short, or if other users may read the file."""
    check_private(file)
    token = file.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            f"{file}: expected a token of at least {SHORTEST_TOKEN} letters and digits, got {len(token)} characters; "
            "write one, for example with: openssl rand -hex 32"
        )
    return token


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate chain.  Raises ValueError for files that do not fit."""
    check_private(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")  # without it OpenSSL would ask on the terminal
    except OSError as cause:
        reason = getattr(cause, "reason", None) or cause.strerror or "other bytes"
        raise ValueError(
            f"{certificate}, {key}: expected a certificate and its unencrypted key, got {reason}"
        ) from None
    return context


def check_private(file: Path) -> None:
    """Raise ValueError if other users may read the file, or its group may write it."""
    try:
        mode = file.stat().st_mode & 0o777
    except OSError as cause:
        raise ValueError(f"{file}: expected a file that can be read, got {cause.strerror}") from None
    if file.is_dir():
        raise ValueError(f"{file}: expected a file, got a folder; name the file in it")
    if mode & FOR_OTHERS:
        raise ValueError(f"{file}: expected a file that other users cannot read, got mode {mode:o}; chmod 600 {file}")


def _is_local(host: str) -> bool:
    """Whether the value of a header Host names this machine, whatever its port."""
    matched = HOST.fullmatch(host)
    if matched is None:
        return False
    name = matched[1] or matched[2]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
