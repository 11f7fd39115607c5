"""Images of a body: bytes, forms and JSON; never a path."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.tagger.service.responses import HttpError
from export.tagger.service.uploads import ContentType, content_type, uploads
from mlkd.core.images import UnreadableImageError
from tests.helpers.served import form

JSON = ContentType("application/json", b"")
DATA = b"\xff\xd8\r\n--b0undar\r\n\x00"  # nearly a boundary


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_raw_bytes_are_one_image() -> None:
    for kind in ("image/jpeg", "IMAGE/x-new; q=1", "application/octet-stream"):
        assert uploads(content_type(kind), DATA, 1) == [("1", DATA)]


def test_files_of_a_form_keep_their_bytes_and_names() -> None:
    body, kind = form(("a.jpg", DATA), ("été ;.png", b""), ("", b"x"))
    assert uploads(content_type(kind), body, 3) == [("a.jpg", DATA), ("été ;.png", b""), ("3", b"x")]
    quoted = 'multipart/form-data; boundary="with space"'
    assert uploads(content_type(quoted), form(("a", b"x"), boundary="with space")[0], 3) == [("a", b"x")]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("name=a; filename=x", "x"),
        (r'filename="a\"b\\c"', 'a"b\\c'),
        ('filename="a%22b"', "a%22b"),
        ("filename=x; filename*=UTF-8''%C3%A9", "é"),
        ('filename="x"; filename*=idna%ff', "x"),
        ("filename=x; filename*=a\0b''y", None),
        ("filename*=undefined''x", None),
        ("filename=x y", None),
        ("filename=x; filename=y", None),
        ("filename=x\r\nContent-Disposition: form-data; filename=y", None),
    ],
)
def test_names_of_files(parameters: str, name: str | None) -> None:
    body = f"--b\r\nContent-Disposition: form-data; {parameters}\r\n\r\nx\r\n--b--".encode()
    if name is not None:
        assert uploads(ContentType("multipart/form-data", b"b"), body, 1) == [(name, b"x")]
        return
    with pytest.raises(HttpError, match="part 1: ") as raised:
        uploads(ContentType("multipart/form-data", b"b"), body, 1)
    assert raised.value.status == 400


def test_json_holds_base64() -> None:
    assert uploads(JSON, json.dumps({"image": encoded(DATA)}).encode(), 1) == [("1", DATA)]
    (_, first), (name, second) = uploads(JSON, json.dumps({"images": [encoded(DATA), "%"]}).encode(), 2)
    assert first == DATA
    assert name == "2"
    assert isinstance(second, UnreadableImageError)
    assert "expected base64" in str(second)


@pytest.mark.parametrize("text", ["/etc/passwd", "file:///etc/passwd", "http://localhost/a.jpg", "../a"])
def test_a_string_is_never_a_path_or_address(text: str) -> None:
    ((_, data),) = uploads(JSON, json.dumps({"image": text}).encode(), 1)
    with contextlib.suppress(ValueError):  # some are valid base64 of other bytes
        assert data == base64.b64decode(text, validate=True)
        return
    assert isinstance(data, UnreadableImageError)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed"])
def test_another_type_is_refused(kind: str | None) -> None:
    with pytest.raises(HttpError, match=r"expected image/\*") as raised:
        content_type(kind)
    assert raised.value.status == 415


DOUBTFUL = (
    "; boundary*=idna''XX",
    "; boundary*=undefined''XX",
    f"; boundary*{'9' * 5000}=X",
    "; boundary=a; boundary=b",
)


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", f"; boundary={'b' * 71}", "; boundary*=utf-8''%C3%A9", *DOUBTFUL]
)
def test_a_form_needs_a_boundary(boundary: str) -> None:
    with pytest.raises(HttpError, match="header Content-Type: expected") as raised:
        content_type(f"multipart/form-data{boundary}")
    assert raised.value.status == 400


GOOD = form(("a", b"x"), ("b", b"y"))[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"--b0undary--\r\n",
        b"--b0undary",
        GOOD[:-5],
        GOOD[2:],
        b"preamble\r\n" + GOOD,
        GOOD.replace(b"filename", b"filenam"),
        GOOD.replace(b"form-data", b"attachment"),
        GOOD.replace(b"\r\n\r\n", b"\r\n"),
        GOOD.replace(b"\r\n\r\n", b"\r\n" + b"a: b\r\n" * 1000 + b"\r\n"),
        GOOD.replace(b"y\r\n--b0undary", b"y\r\n--b0undaryX"),
    ],
)
def test_a_broken_form_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError, match="expected") as raised:
        uploads(ContentType("multipart/form-data", b"b0undary"), body, 9)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "content",
    [
        {}, [], "a", 1, None, {"image": 1}, {"image": ["a"]}, {"images": []}, {"images": "a"}, {"images": [1]},
        {"image": "a", "images": ["a"]}, {"path": "a"}, {"image": "a", "path": "b"}, [["image", "a"]], {"images": {}},
    ],
)  # fmt: skip
def test_other_json_is_refused(content: Any) -> None:
    with pytest.raises(HttpError, match=r'expected \{"image": BASE64\}') as raised:
        uploads(JSON, json.dumps(content).encode(), 9)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"image": "\xff"}', b"[" * 9, b'{"image": NaN', '{"image": "é"}'.encode("utf-16")]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError, match="expected JSON"):
        uploads(JSON, body, 9)


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(HttpError, match="got other JSON"):
        uploads(JSON, b'{"image": "YQ==", "image": "Yg=="}', 9)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[" + b"{}," * 100_000 + b"1]", json.dumps({"images": ["a"] * 3}).encode()]
)
def test_json_with_more_objects_than_images_is_refused_unread(body: bytes) -> None:
    with pytest.raises(HttpError, match="expected at most 2 images") as raised:
        uploads(JSON, body, 2)
    assert raised.value.status == 413


def test_too_many_files_are_refused() -> None:
    with pytest.raises(HttpError, match="at most 1 images") as raised:
        uploads(ContentType("multipart/form-data", b"b0undary"), GOOD, 1)
    assert raised.value.status == 413


@given(
    st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"x", b'Content-Disposition: form-data; filename="a"', b": "]))
)
def test_no_form_raises_another_error(pieces: list[bytes]) -> None:
    with contextlib.suppress(HttpError):
        uploads(ContentType("multipart/form-data", b"b"), b"".join(pieces), 5)


@given(st.binary(max_size=60))
def test_no_json_raises_another_error(body: bytes) -> None:
    with contextlib.suppress(HttpError):
        uploads(JSON, b'{"image": "' + body, 5)
    with contextlib.suppress(HttpError):
        uploads(JSON, body, 5)


@given(st.text(max_size=60))
def test_no_content_type_raises_another_error(text: str) -> None:
    with contextlib.suppress(HttpError):
        content_type(f"multipart/form-data; {text}".encode("latin-1", "ignore").decode("latin-1"))
