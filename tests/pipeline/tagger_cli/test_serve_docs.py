"""The commands on the page of the service do what it says."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tagger_cli import _parser, serving
from tests.helpers import served
from tests.helpers.served import Served

PAGE = (Path(__file__).parents[3] / "docs/service.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(.*\bcurl .*localhost:8765.*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Served]:
    with served.serve(folder) as running:
        yield running


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl missing")
@pytest.mark.parametrize("command", COMMANDS)
def test_curl_gets_an_answer(service: Served, images: dict[str, Path], tmp_path: Path, command: str) -> None:
    shutil.copy(images["red"], tmp_path / "photo.jpg")
    shutil.copy(images["blue"], tmp_path / "other.png")
    command = command.replace("8765", str(service.port)).replace("curl ", "curl --fail --silent --show-error ")
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    if "/tag" in command:
        found = [image["tags"][0]["label"] for image in json.loads(printed)["images"]]
        assert found == (["red", "blue"] if "other.png" in command else ["red"])
    elif "/metrics" not in command:
        assert json.loads(printed)


def test_the_page_has_every_path_limit_and_metric(service: Served) -> None:
    assert len(COMMANDS) == 6
    for name in serving.LIMITS:
        assert f"`--{name.replace('_', '-')}` | {serving.LIMITS[name][2].rpartition(' ')[2]} |" in PAGE
    text = service.ask("GET", "/metrics").body.decode()
    metrics = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert metrics == set(re.findall(r"`(tagger_\w+)", PAGE))
    paths = re.findall(r"^\| `(/\w+)` \|", PAGE, re.MULTILINE)
    assert [service.ask("DELETE", path).status for path in paths] == [405] * 4


def test_the_command_lines_of_the_program_are_accepted() -> None:
    lines = re.findall(r"^\S*python3? \S*tagger\.pyz (.*?)(?:#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        _parser().parse_args(shlex.split(line))
