"""docs/recipe.md has every key of a recipe."""

from dataclasses import dataclass, field
from typing import get_args

from mlkd.data import Source
from mlkd.losses import Loss
from pipeline.recipe.keys import keys
from scripts.recipe_page import PAGE, page


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m scripts.recipe_page"


def test_every_kind_has_a_section_and_every_link_has_a_target() -> None:
    text = page()
    for cls in (*get_args(Source), *get_args(Loss)):
        assert f"## {cls.__name__}: `kind: {cls.kind}`" in text
    targets = {
        "".join(letter for letter in line[3:].lower() if letter.isalnum() or letter in " -_").replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("## ")
    }
    links = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert links
    assert links <= targets


def test_keys_have_the_comment_behind_them() -> None:
    @dataclass(frozen=True)
    class First:
        one: int = 1  # of the base
        two: str = "# no comment"

    @dataclass(frozen=True)
    class Second(First):
        """Text.  # no comment"""

        three: tuple[int, ...] = field(  # of its first line
            default=()
        )
        four: float = 0.5  # share | of all

    read = {key.name: key.comment for key in keys(Second)}
    assert read == {"one": "of the base", "two": "", "three": "of its first line", "four": "share | of all"}
