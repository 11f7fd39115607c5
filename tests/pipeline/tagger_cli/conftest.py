"""Commands of `tagger.pyz` in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.tagger_cli import main


class Run:
    """Runs a command on the bundle of colours, or on another one."""

    def __init__(self, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.bundle, self.capsys = bundle, capsys

    def __call__(self, *words: object, code: int = 0, bundle: Path | str | None = None) -> tuple[str, str]:
        """Return what is printed on standard output and standard error."""
        assert main([*map(str, words), "--bundle", str(bundle or self.bundle)]) == code
        return self.capsys.readouterr()

    def refuse(self, *words: object, bundle: Path | str | None = None) -> str:
        """Return the error of a command that prints nothing else."""
        out, err = self(*words, code=2, bundle=bundle)
        assert out == ""
        return err

    def json(self, *words: object, code: int = 0, bundle: Path | str | None = None) -> Any:
        """Return the JSON object that is printed."""
        return json.loads(self(*words, code=code, bundle=bundle)[0])


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(folder, capsys)
