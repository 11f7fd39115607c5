"""The options of `init`: the keys of a folder's data section, under the same names."""

from __future__ import annotations

import argparse
import csv
import os
import re
import shlex
import typing
from pathlib import Path
from typing import Any

from mlkd.data.sources.folder import Folder
from pipeline.recipe.keys import Key, keys

RECIPE_ONLY = ("kind", "labels", "unlabelled")  # keys without an option
NOTHING = ("none", "null")
ADVICE = re.compile(r"\bset (\w+): (\[[^\]]*\]|true\b|)")


def add_options(command: argparse.ArgumentParser) -> None:
    """Add an option for every key that says how to read a folder."""
    for key in option_keys():
        is_choice = typing.get_origin(key.kind) is typing.Literal
        choices = [str(choice) for choice in typing.get_args(key.kind)] if is_choice else None
        option = f"--{key.name.replace('_', '-')}"
        text = key.comment.replace("%", "%%")
        if key.kind is bool:
            command.add_argument(option, action="store_true", default=None, help=text)
        else:
            metavar = None if choices else _metavar(key)
            command.add_argument(option, choices=choices, metavar=metavar, help=text)


def option_keys() -> list[Key]:
    """List the keys that have an option."""
    return [key for key in keys(Folder) if key.name not in RECIPE_ONLY]


def read_options(options: argparse.Namespace) -> dict[str, Any]:
    """Convert the options that the user gave to keys of the data section."""
    given = {key: getattr(options, key.name) for key in option_keys()}
    return {key.name: _value(key, value, options.folder) for key, value in given.items() if value is not None}


def as_options(message: str) -> str:
    """Turn the advice for a recipe, such as `set file_column: NAME`, into that for `init`, `pass` and the option."""
    return ADVICE.sub(_as_option, message)


def _as_option(match: re.Match[str]) -> str:
    option, value = f"pass --{match[1].replace('_', '-')}", match[2]
    if value == "true":
        return option
    return f"{option} {shlex.quote(value[1:-1].replace(', ', ',')) if value else ''}"


def _value(key: Key, text: Any, folder: Path) -> Any:
    if key.kind is bool:
        return text
    if type(None) in typing.get_args(key.kind) and text.lower() in NOTHING:
        return None
    if key.name in ("root", "table", "label_names"):
        return _absolute(folder.absolute(), text)
    if typing.get_origin(key.kind) is tuple:
        return tuple(value.strip() for value in next(csv.reader([text]), [""])) or ("",)
    return text


def _absolute(folder: Path, text: str) -> Path:
    """The path relative to the folder if it exists there, else to the current folder."""
    given = Path(text).expanduser()
    return Path(os.path.normpath((folder / given if (folder / given).exists() else given).absolute()))


def _metavar(key: Key) -> str:
    if key.name in ("table", "label_names"):
        return "FILE"
    names = {"root": "FOLDER", "separator": "MARK", "suffix": ".jpg"}
    return names.get(key.name, "NAME,…" if typing.get_origin(key.kind) is tuple else "NAME")
