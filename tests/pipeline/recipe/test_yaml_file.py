"""YAML of others: every mistake and every attack is a fault of the file, with its line where it has one."""

from pathlib import Path

import pytest

from pipeline.recipe.faults import ConfigError
from pipeline.recipe.yaml_file import MOST_BRACKETS, parse_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20))
FAULTS = {
    "list as key": ("? [a]\n: b\n", "line 1: expected text as a key, got \\['a'\\]"),
    "mapping as key": ("x: y\n? {a: b}\n: c\n", "line 2: expected text as a key, got \\{'a': 'b'\\}"),
    "empty number": ("x: !!int ''\n", "line 1: expected a value of the type int, got ''"),
    "no date": ("x: 1\ny: 2020-99-99\n", "line 2: expected a value of the type timestamp, got '2020-99-99'"),
    "no boolean": ("x: !!bool maybe\n", "line 1: expected a value of the type bool, got 'maybe'"),
    "many digits": (f"x: {'9' * 5000}\n", "line 1: expected a value of the type int, got '9999"),
    "brackets": (f"x: {'[' * 100_000}\n", f"line 1: expected at most {MOST_BRACKETS} brackets in each other, got more"),
    "levels": ("- " * 3000, "expected lists and keys in few levels, got too many"),
    "aliases of aliases": (LAUGHS, "expected at most 100000 values, got more; write fewer aliases"),
    "an alias of itself": ("x: &a [*a]\n", "expected at most 100000 values"),
    "code": ("x: !!python/object/apply:os.getpid []\n", "could not determine a constructor for the tag"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_line_and_value(name: str) -> None:
    text, message = FAULTS[name]
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, Path("mine.yaml"))


def test_aliases_and_brackets_within_the_limits_are_read() -> None:
    deep = "[" * MOST_BRACKETS + "]" * MOST_BRACKETS
    tree = parse_yaml(f"a: &a {{x: 1}}\nb: [*a, *a]\nc: {deep}\n", Path("mine.yaml"))
    assert tree["b"] == [{"x": 1}, {"x": 1}]
