"""Reads YAML strictly, and within limits: it may come from somebody else."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.recipe.faults import ConfigError, Fault

MOST_BRACKETS = 50
MOST_VALUES = 100_000  # of a file, with those that aliases repeat


def read_yaml(path: Path) -> Any:
    """Read a YAML file; raises ConfigError, with the line, for invalid YAML and repeated keys."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as cause:
        raise ConfigError(path, [Fault("", f"expected UTF-8 text, got {cause}")]) from None


def parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML; `path` is the file for error messages."""
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
        _refuse_many(tree)
    except yaml.YAMLError as cause:
        raise ConfigError(path, [Fault("", " ".join(str(cause).split()))]) from None
    except RecursionError:
        raise ConfigError(path, [Fault("", "expected lists and keys in few levels, got too many")]) from None
    return tree


def _refuse_many(tree: Any) -> None:
    """Raise YAMLError for too many values; aliases can make billions of a short file."""
    left = [tree]
    for _ in range(MOST_VALUES):
        if not left:
            return
        value = left.pop()
        left += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    raise yaml.YAMLError(f"expected at most {MOST_VALUES} values, got more; write fewer aliases")


class _Loader(yaml.SafeLoader):
    """Read numbers as YAML 1.2 does (3e-4 is one), and refuse repeated keys."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= MOST_BRACKETS:  # the time of the scanner grows with their square
            raise yaml.YAMLError(
                f"line {self.line + 1}: expected at most {MOST_BRACKETS} brackets in each other, got more"
            )
        super().fetch_flow_collection_start(token)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # of int(), datetime and others, for !!int '' and 2020-99-99
            kind = node.tag.rpartition(":")[2]
            text = f"line {node.start_mark.line + 1}: expected a value of the type {kind}, got {str(node.value)[:60]!r}"
            raise yaml.YAMLError(text) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise yaml.YAMLError(f"line {line}: expected text as a key, got {str(key)[:60]}")
            if key in seen:
                raise yaml.YAMLError(f"line {line}: {key}: expected each key once, got it in line {seen[key]} already")
            seen[key] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
