"""Links, recipe keys and commands in the documentation exist; nothing in it is about one machine."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.main import _parser, main
from pipeline.recipe.device_list import read_device_list
from pipeline.recipe.schema import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and content of every code block of a language."""
    return [
        (name, block) for name in TEXTS for block in re.findall(rf"```{language}\n(.*?)```", TEXTS[name], re.DOTALL)
    ]


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_every_page_is_in_the_index_and_the_navigation() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\((\w+\.md)\)", TEXTS["docs/index.md"])) == pages
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    assert set(re.findall(r"\w+\.md", navigation)) == pages | {"index.md"}


@pytest.mark.parametrize(("name", "block"), blocks("yaml"))
def test_keys_of_recipes_exist(name: str, block: str, tmp_path: Path) -> None:
    """Each block changes the recipe scenes, as a user's recipe would; an indented one belongs to `export`."""
    content: Any = yaml.safe_load("export:\n" + block if block.startswith(" ") else block)
    file = tmp_path / "shown.yaml"
    if "devices" in content:
        file.write_text(block)
        assert read_device_list(file).others
    else:
        file.write_text(yaml.safe_dump({"extends": "scenes", **content}))
        assert load_recipe(str(file), None)


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    with pytest.raises(SystemExit):
        main(["--help"])
    verbs = set(re.findall(r"^    ([a-z]+)\b", capsys.readouterr().out, re.MULTILINE))
    shell = "\n".join(block for _, block in blocks("sh"))
    made = [word for line in re.findall(r"^make (.*)", shell, re.MULTILINE) for word in line.split("#")[0].split()]
    assert {word for word in made if "=" not in word and word.isalpha()} <= targets
    used = set(re.findall(r"-m pipeline ([a-z]+)", "\n".join(TEXTS.values())))
    assert {"init", "choose", "ship", "distill"} <= used
    assert used <= verbs


def test_make_choose_passes_its_limits() -> None:
    limits = ["MAX_P90_MS=8", "MIN_MAP=45", "MAX_MB=10", "DEVICE=Raspberry Pi 5"]

    def made(*variables: str) -> dict[str, Any]:
        command = ["make", "--silent", "--dry-run", "choose", "RECIPE=mine.yaml", *variables]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        words = shlex.split(printed.splitlines()[-1])
        assert words[1:3] == ["-m", "pipeline"]
        return vars(_parser("choose").parse_args(words[3:]))

    given = made(*limits)
    assert {name: given[name] for name in ("named", "max_p90_ms", "min_map", "max_mb", "device")} == {
        "named": "mine.yaml", "max_p90_ms": 8.0, "min_map": 45.0, "max_mb": 10.0, "device": "Raspberry Pi 5",
    }  # fmt: skip
    assert [made()[name] for name in ("max_p90_ms", "min_map", "max_mb", "device")] == [None] * 4


def test_the_readme_says_how_to_test_and_shows_the_chart() -> None:
    assert "make distill export bench" in TEXTS["README.md"]
    assert "make test" in TEXTS["README.md"]
    assert "](docs/chart.svg)" in TEXTS["README.md"]
    assert len(TEXTS["README.md"].splitlines()) < 130


def test_nothing_is_about_one_machine() -> None:
    texts = TEXTS | {"docs/chart.svg": (ROOT / "docs/chart.svg").read_text(encoding="utf-8")}
    private = re.compile(r"/(?:root|work|home|tmp)/|pypi\.org|file://")
    assert {name: found for name, text in texts.items() if (found := private.findall(text))} == {}
