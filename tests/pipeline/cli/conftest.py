"""The tiny recipe in the current folder, and commands that are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.helpers import drawings

Refused = Callable[..., str]


@pytest.fixture
def recipe(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return drawings.write_recipe(drawn, tmp_path)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command, and return the block on standard error of a fault that the user can fix."""

    def refused(*arguments: str) -> str:
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        lines = printed.err.splitlines()
        at = next(at for at, line in enumerate(lines) if line.startswith("error in "))
        assert lines[-1].startswith("next: ")
        return "\n".join(lines[at:])

    return refused
