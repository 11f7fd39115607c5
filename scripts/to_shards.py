"""Write the images of a recipe's data source as shards: `python -m scripts.to_shards RECIPE OUT`.

The source is read, checked and split as the data stage does it: copies stay in one split, and unreadable images are
left out. The recipe then takes its images from the shards with `data: {kind: shards, root: OUT}`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from mlkd.data.preparation import prepare
from mlkd.data.scenes.fetch import fetch
from mlkd.data.shards.write import write_shards
from pipeline.recipe.schema import load_recipe

PX = 32  # of the images that the checks for copies compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name or path of the recipe with the data source")
    parser.add_argument("out", type=Path, help="new folder for the shards")
    parser.add_argument("--data", type=Path, help="root of the images, in place of the recipe's")
    parser.add_argument("--images", type=int, default=1000, help="in a shard (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of images (default: 0)")
    options = parser.parse_args()
    source = load_recipe(options.recipe, options.data).data
    if source.needs_fetch():
        fetch()
    options.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.absolute().parent) as work:
        prepare(source, Path(work), (PX,), show)
        write_shards(Path(work), options.out, images=options.images, seed=options.seed, progress=show)
    shards = len(list(options.out.glob("*/*.tar")))
    print(f"{options.out}: {shards} shards")


def show(what: str, done: int, total: int, _: object = None, /) -> None:
    print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", flush=True)


if __name__ == "__main__":
    main()
