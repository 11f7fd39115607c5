"""SECURITY.md names a test for each attack."""

import ast
import re

from tests.helpers.commands import REPOSITORY

TEXT = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def test_every_named_test_exists() -> None:
    assert len(NAMED) > 40
    missing = []
    for file, name in NAMED:
        path = REPOSITORY / file
        functions = (
            {
                node.name
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.FunctionDef)
            }
            if path.is_file()
            else set()
        )
        missing += [f"{file}::{name}"] if name not in functions else []
    assert missing == []


def test_every_line_of_the_table_names_a_test() -> None:
    table = TEXT.partition("## Tests")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == len(NAMED)
    assert len(set(NAMED)) == len(NAMED)
