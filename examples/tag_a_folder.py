"""Tag all images of a folder with a bundle, fast and in order.

python -m examples.tag_a_folder dist/scenes photos
"""

import sys
from pathlib import Path

from export.tagger import Tagger, tag_many


def main(bundle: str, folder: str) -> None:
    """Print the labels and scores of each image; an image that cannot be read is reported."""
    images = sorted(file for file in Path(folder).rglob("*") if file.is_file())
    with Tagger.load(bundle, workers=None) as tagger:  # as many images at once as this machine has cores for
        for image, tags in tag_many(tagger, images):
            if isinstance(tags, Exception):
                print(f"{image}: not read: {tags}")
            else:
                print(f"{image}: {', '.join(f'{label} {score:.2f}' for label, score in tags) or 'no label'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
