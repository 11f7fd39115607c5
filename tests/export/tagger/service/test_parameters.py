"""Parameters of headers."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.tagger.service.parameters import split

LONG = 1_000_000


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {}),
        (";", {}),
        (" ; ;NAME=a;; b=c; ", {"name": "a", "b": "c"}),
        ('; a="b; c=d"', {"a": "b; c=d"}),
        (r'; a="\"b\" \\ \c"', {"a": r'"b" \ \c'}),
        ('; a=""', {"a": ""}),
        ("; a*=UTF-8'en'%C3%A9%20'; a=b", {"a": "é '"}),
        ("; a=b; a*=utf-8''%ff", {"a": "\ufffd"}),
        ("; a=b; a*=iso-8859-1''%E9", {"a": "b"}),
        ("; a*=idna''b", {}),
        ("; a*=b", {}),
        ("; a*0=b; a*1=c", {"a*0": "b", "a*1": "c"}),
    ],
)
def test_parameters_are_tokens_or_quoted(text: str, parameters: dict[str, str]) -> None:
    assert split(f" Form-Data {text}") == ("form-data", parameters)


@pytest.mark.parametrize(
    "text",
    ["; a", "; a=", "; =b", "; a =b", "; a= b", '; a="b', '; a="b"c', "; a=b c", "; a=é", '; a="\\"', "; a=b; A=c"],
)
def test_other_parameters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        split(f"form-data{text}")


@pytest.mark.parametrize(
    "text",
    [
        ";" * LONG,
        '; x="' + ";" * LONG,
        '; x="' + "\\" * LONG,
        "; x=" + "a" * LONG + '"',
        "; " + "a" * LONG,
        ";" + " " * LONG + "a",
        "".join(f"; a{number}=b" for number in range(LONG // 10)),
    ],
)
def test_long_parameters_end_soon(text: str) -> None:
    """With a parser that reads characters again for each parameter, this takes hours."""
    with contextlib.suppress(ValueError):
        split(text)


@given(st.text(alphabet=string.printable + "é", max_size=60))
def test_no_parameters_raise_another_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        split(f"form-data; {text}")
