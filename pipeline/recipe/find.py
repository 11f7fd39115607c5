"""Find a recipe by name; torch-free, so that commands that only read results start fast."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes")


def find_recipe(name_or_path: str) -> Path:
    """Find the file of a recipe by its name or path; raises ValueError that names the closest recipe."""
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
    """Find the recipe that `extends: NAME` in `file` names: a path relative to the file, or a recipe of the project."""
    given = Path(name)
    return find_recipe(str(file.parent / given) if given.suffix else name)
