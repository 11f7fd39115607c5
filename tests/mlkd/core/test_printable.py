import io
import logging

import pytest

from mlkd.core.printable import Parser, PrintableFormatter, is_utf8, printable, printable_lines


def test_what_controls_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[2J\n\x9b\u202e\udcff") == r"a\x1b[2J\n\x9b\u202e\udcff"
    assert printable("Straße 日本 👩") == "Straße 日本 👩"
    assert printable_lines("a\x07\nb\r\n") == "a\\x07\nb\\r\n"


def test_lone_surrogates_are_no_utf8() -> None:
    assert is_utf8("Straße 👩")
    assert not is_utf8("a\udcff")


def test_log_records_keep_their_lines() -> None:
    stream, log = io.StringIO(), logging.Logger("a test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    log.addHandler(handler)
    try:
        raise ValueError("a\x1b[2J")
    except ValueError:
        log.exception("%s", "b\x07")
    lines = stream.getvalue().splitlines()
    assert lines[0] == r"b\x07"
    assert lines[-1] == r"ValueError: a\x1b[2J"
    assert all(map(str.isprintable, lines))


def test_usage_errors_repeat_words_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    commands = Parser(prog="a").add_subparsers()
    with pytest.raises(SystemExit):
        commands.add_parser("b").parse_args(["-\x1b[2J"])
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: -\\x1b[2J\n")
