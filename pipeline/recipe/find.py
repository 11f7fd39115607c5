"""Which file a recipe's name means; torch-free, so that commands that only read results start at once."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes")


def find_recipe(name_or_path: str) -> Path:
    """The recipe's file; ValueError names the closest known recipes."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not path.is_file():
            raise ValueError(f"recipe: expected a YAML file, got nothing at {path.absolute()}; check RECIPE")
    else:
        files = {file.stem: file for file in RECIPES.rglob("*.yaml")}
        path = files.get(name_or_path, RECIPES / f"{name_or_path}.yaml")
        if not path.is_file():
            known = sorted(files)
            close = difflib.get_close_matches(name_or_path, known, n=1) or known
            raise ValueError(
                f"recipe: expected one of {', '.join(known)} or a path to a .yaml file, got {name_or_path!r}; "
                f"did you mean {close[0]}?"
            )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", path.stem):
        raise ValueError(f"recipe: expected a file name of letters, digits, - and _, got {path.name!r}; rename it")
    return path


def find_beside(name: str, file: Path) -> Path:
    """What `extends: NAME` in `file` means: a path from where the file lies, or a known recipe."""
    given = Path(name)
    return find_recipe(str(file.parent / given) if given.suffix else name)
