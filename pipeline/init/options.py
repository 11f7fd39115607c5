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

NOT_TOLD = ("kind", "labels", "unlabelled")  # these only the recipe has
NOTHING = ("none", "null")
SAY = re.compile(r"\bsay (\w+): (\[[^\]]*\]|true\b|)")


def add_options(command: argparse.ArgumentParser) -> None:
    """One option for every key that says how a folder is read."""
    for key in told_keys():
        choices = (
            [str(one) for one in typing.get_args(key.kind)] if typing.get_origin(key.kind) is typing.Literal else None
        )
        option = f"--{key.name.replace('_', '-')}"
        text = key.comment.replace("%", "%%")
        if key.kind is bool:
            command.add_argument(option, action="store_true", default=None, help=text)
        else:
            metavar = None if choices else _metavar(key)
            command.add_argument(option, choices=choices, metavar=metavar, help=text)


def told_keys() -> list[Key]:
    """The keys that have an option."""
    return [key for key in keys(Folder) if key.name not in NOT_TOLD]


def read_options(options: argparse.Namespace) -> dict[str, Any]:
    """The keys that were told, as the dataclass has them."""
    given = {key: getattr(options, key.name) for key in told_keys()}
    return {key.name: _value(key, value, options.folder) for key, value in given.items() if value is not None}


def as_options(message: str) -> str:
    """An error's advice for a recipe, `say file_column: NAME`, as that for `init`, `say --file-column NAME`."""
    return SAY.sub(_as_option, message)


def _as_option(found: re.Match[str]) -> str:
    option, value = f"say --{found[1].replace('_', '-')}", found[2]
    if value == "true":
        return option
    return f"{option} {shlex.quote(value[1:-1].replace(', ', ',')) if value else ''}"


def _value(key: Key, text: Any, folder: Path) -> Any:
    if key.kind is bool:
        return text
    if type(None) in typing.get_args(key.kind) and text.lower() in NOTHING:
        return None
    if key.name in ("root", "table", "label_names"):
        return _beside(folder.absolute(), text)
    if typing.get_origin(key.kind) is tuple:
        return tuple(value.strip() for value in next(csv.reader([text]), [""])) or ("",)
    return text


def _beside(folder: Path, text: str) -> Path:
    """A path from the folder, or else from where the command is run."""
    given = Path(text).expanduser()
    return Path(os.path.normpath((folder / given if (folder / given).exists() else given).absolute()))


def _metavar(key: Key) -> str:
    if key.name in ("table", "label_names"):
        return "FILE"
    names = {"root": "FOLDER", "separator": "MARK", "suffix": ".jpg"}
    return names.get(key.name, "NAME,…" if typing.get_origin(key.kind) is tuple else "NAME")
