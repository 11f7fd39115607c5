"""`tagger.pyz serve`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK, SOME_FAILED, command, count, number, rebuild_option
from pipeline.tagger_cli.tagging import doubtful_labels, load_tagger

if TYPE_CHECKING:
    from export.tagger.service import Limits

HOST, PORT = "127.0.0.1", 8765


def seconds(text: str) -> float:
    """A positive number of seconds, for argparse."""
    value = number(float, text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected more than 0 seconds, got {text}")
    return value


LIMITS: dict[str, tuple[Any, str, str]] = {  # the fields of Limits, whose import would slow --help down
    "body_mb": (count, "MB", "of one request; default: 32"),
    "bodies_mb": (count, "MB", "of all requests in memory; default: 256"),
    "images": (count, "N", "images of one request; default: 32"),
    "megapixels": (count, "N", "million pixels of an image as it was sent; default: 50"),
    "queue": (count, "N", "requests that wait for a worker; default: 32"),
    "queue_s": (seconds, "S", "longest wait for a worker; default: 10"),
    "tag_s": (seconds, "S", "to start the last image of a request; default: 30"),
    "read_s": (seconds, "S", "to receive the headers, the body, or another request; default: 20"),
    "connections": (count, "N", "default: 128"),
    "client_connections": (count, "N", "connections of one address; default: 64"),
    "stop_s": (seconds, "S", "for the requests in flight after SIGTERM; default: 30"),
}


def add(commands: Any) -> None:
    """Add the command serve."""
    parser = command(commands, "serve", serve)
    parser.set_defaults(threshold=None, json=True, csv=False)  # requests have their own threshold; answers are JSON
    parser.add_argument("--host", default=HOST, help=f"default: {HOST}; others need a token and TLS")
    parser.add_argument("--port", type=_port, default=PORT, help=f"default: {PORT}; 0 for a free one")
    parser.add_argument("--engine", metavar="NAME", help="default: the fastest that runs here")
    parser.add_argument(
        "--workers", type=count, metavar="N", help="images at the same time; default: one per core that is usable"
    )
    rebuild_option(parser)
    access = parser.add_argument_group("access")
    access.add_argument("--token-file", type=Path, metavar="FILE", help="clients send its content as a bearer token")
    access.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    access.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    behind_proxy = "plain HTTP on any address, because a proxy adds TLS; the token is still needed"
    access.add_argument("--behind-proxy", action="store_true", help=behind_proxy)
    limits = parser.add_argument_group("limits")
    for name, (kind, metavar, text) in LIMITS.items():
        limits.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    parser.add_argument("--quiet", action="store_true", help="log no requests")


def serve(options: argparse.Namespace) -> int:
    """Tag images over HTTP, until SIGTERM or Ctrl-C; requests in flight are answered."""
    from export.tagger import service

    limits = _limits(options)
    token = service.read_token(options.token_file) if options.token_file else None
    if bool(options.tls_cert) != bool(options.tls_key):
        raise ValueError("TLS: expected --tls-cert and --tls-key, got one of them; add the other one")
    tls = service.tls_context(options.tls_cert, options.tls_key) if options.tls_cert else None
    listener, loopback = service.listen(options.host, options.port)
    local, behind_proxy = loopback and not options.behind_proxy, options.behind_proxy
    with listener:
        facts = {"local": local, "behind_proxy": behind_proxy, "has_token": token is not None}
        service.check_exposure(options.host, **facts, encrypted=tls is not None)
        with load_tagger(options) as tagger:
            doubtful = doubtful_labels(options, tagger)
            _set_log_level(options)
            access = service.Access(token=token, local=local)
            if service.serve(tagger, listener, access, limits, tls=tls, doubtful=doubtful):
                return OK
    print(f"tagger: stopped after {limits.stop_s:g} s with requests in flight", file=sys.stderr, flush=True)
    os._exit(SOME_FAILED)  # a thread at work would hold the process


def _limits(options: argparse.Namespace) -> Limits:
    from export.tagger.service import Limits

    return Limits(**{name: value for name in LIMITS if (value := getattr(options, name)) is not None})


def _set_log_level(options: argparse.Namespace) -> None:
    level = logging.WARNING if options.quiet else logging.DEBUG if options.debug else logging.INFO
    logging.getLogger("export.tagger.service.connection").setLevel(level)


def _port(text: str) -> int:
    value = number(int, text)
    if not 0 <= value < 65_536:
        raise argparse.ArgumentTypeError(f"expected a port of 0 to 65535, got {text}")
    return value
