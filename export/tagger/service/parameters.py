"""Parameters of headers such as Content-Type, read in one pass; what two parsers could read differently is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({TOKEN})=(?:({TOKEN})|"([^"\\]*(?:\\.[^"\\]*)*)"))?', re.DOTALL)
ESCAPED = re.compile(r'\\(["\\])')


def split(header: str) -> tuple[str, dict[str, str]]:
    """The value before the parameters in lower case, and the parameters by their names in lower case.

    Of parameters with a charset (RFC 8187), those in UTF-8 replace the plain ones and others are dropped.

    Raises:
        ValueError: The parameters are malformed, or one is there twice.
    """
    value, _, _ = header.partition(";")
    parameters: dict[str, str] = {}
    at = len(value)
    while at < len(header):
        matched = PARAMETER.match(header, at)
        if matched is None:
            raise ValueError("expected parameters as ; NAME=VALUE, got others")
        at = matched.end()
        name, token, quoted = matched.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            raise ValueError("expected each parameter once, got one several times")
        parameters[name.lower()] = ESCAPED.sub(r"\1", quoted) if token is None else token
    return value.strip().lower(), _without_charsets(parameters)


def _without_charsets(parameters: dict[str, str]) -> dict[str, str]:
    plain = {name: text for name, text in parameters.items() if not name.endswith("*")}
    for name, text in parameters.items():
        charset, _, rest = text.partition("'")
        _, quote, encoded = rest.partition("'")
        if name.endswith("*") and quote and charset.lower() == "utf-8":
            plain[name[:-1]] = unquote(encoded, errors="replace")
    return plain
