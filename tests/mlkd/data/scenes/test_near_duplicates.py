import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mlkd.data.scenes.near_duplicates import near_duplicate_groups, thumbnail


def owl(colour: tuple[int, int, int], eye: int = 20) -> Image.Image:
    image = Image.new("RGBA", (80, 100))
    pen = ImageDraw.Draw(image)
    pen.polygon([(40, 0), (80, 40), (60, 100), (10, 80), (0, 30)], fill=(*colour, 255))
    pen.ellipse((eye, 30, eye + 14, 44), fill=(0, 0, 0, 255))
    pen.rectangle((35, 60, 60, 66), fill=(255, 255, 255, 255))
    return image


def groups(*images: Image.Image, labels: list[int] | None = None) -> list[int]:
    aspects = np.array([image.width / image.height for image in images], dtype=np.float32)
    columns = np.array(labels or [0] * len(images))
    return near_duplicate_groups(np.stack([thumbnail(image) for image in images]), aspects, columns).tolist()


def test_copies_recoloured_resized_and_mirrored_twins_are_one_group() -> None:
    base = owl((150, 60, 60))
    twins = [base, owl((60, 150, 60)), base.resize((40, 50)), ImageOps.mirror(base)]
    assert groups(*twins) == [0, 0, 0, 0]


def test_another_drawing_of_the_same_shape_is_another_group() -> None:
    square = Image.new("RGBA", (60, 60), (200, 0, 0, 255))
    striped, halved = square.copy(), square.copy()
    ImageDraw.Draw(striped).rectangle((0, 20, 60, 40), fill=(255, 255, 255, 255))
    ImageDraw.Draw(halved).rectangle((0, 0, 30, 60), fill=(255, 255, 255, 255))
    assert len(set(groups(striped, halved))) == 2


def test_another_shape_is_another_group() -> None:
    disc = Image.new("RGBA", (80, 100))
    ImageDraw.Draw(disc).ellipse((0, 0, 79, 99), fill=(150, 60, 60, 255))
    assert len(set(groups(owl((150, 60, 60)), disc))) == 2


def test_twins_of_twins_belong_together_and_labels_stay_apart() -> None:
    a, b = owl((150, 60, 60)), owl((60, 60, 160))
    assert groups(a, b, a, labels=[0, 0, 1]) == [0, 0, 2]


def test_aspect_tells_a_squeezed_copy_apart() -> None:
    base = owl((150, 60, 60))
    assert len(set(groups(base, base.resize((80, 50))))) == 2
