"""A folder of tagged images, and the command `init`."""

from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.helpers.tagged_folder import draw, tags, write_table

COUNT = 40


class Init:
    """Runs `init` in a folder of its own, and returns what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def accept(self, folder: Path, *arguments: str) -> str:
        code = main(["init", str(folder), *arguments])
        printed = self.capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    def refuse(self, folder: Path, *arguments: str) -> str:
        code = main(["init", str(folder), *arguments])
        printed = self.capsys.readouterr()
        assert code == 2, printed.out
        assert printed.err.startswith("error in init:")
        assert "Traceback" not in printed.err
        return printed.err


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    monkeypatch.chdir(tmp_path)
    return Init(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """my pets/: 40 images and tags.csv."""
    folder = tmp_path / "my pets"
    draw(folder, COUNT)
    write_table(folder / "tags.csv", [(f"{number}.png", ";".join(tags(number))) for number in range(COUNT)])
    return folder
