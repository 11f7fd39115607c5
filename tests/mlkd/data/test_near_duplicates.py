import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mlkd.data.near_duplicates import (
    drawing_hashes,
    grey_drawing,
    near_duplicate_groups,
    same_drawing_groups,
    thumbnail,
)


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


def drawing(seed: int, dark: int = 0, light: int = 220) -> Image.Image:
    """Patches like no other seed's, 60x60."""
    cells = np.random.default_rng(seed).integers(dark, light, (6, 6)).astype(np.uint8)
    return Image.fromarray(np.kron(cells, np.ones((10, 10), np.uint8))).convert("RGBA")


def same_drawings(*images: Image.Image) -> list[int]:
    seen = [grey_drawing(image) for image in images]
    aspects = np.array([aspect for _, aspect in seen], dtype=np.float32)
    return same_drawing_groups(np.stack([grey for grey, _ in seen]), aspects).tolist()


def test_drawings_alike_are_found_in_any_order_and_across_labels() -> None:
    base = drawing(1)
    flipped, larger = ImageOps.mirror(base), base.resize((90, 90))
    margins = ImageOps.expand(base, 20, (255, 255, 255, 255))
    assert same_drawings(base, drawing(2), flipped, drawing(3), larger, margins) == [0, 1, 0, 3, 0, 0]
    assert same_drawings(base, base.resize((60, 40))) == [0, 1]


def test_the_hash_only_proposes() -> None:
    """Stripes as narrow as a pixel are lost in the cells of the hash, not in the greys."""
    halves = np.repeat([100, 150], 12)[None].repeat(24, 0).astype(np.uint8)
    striped = (halves + np.tile([-80, 0, 80], 8)).astype(np.uint8)
    greys = np.stack([halves, striped])
    assert len(set(drawing_hashes(greys).tolist())) == 1
    assert same_drawing_groups(greys, np.ones(2, np.float32)).tolist() == [0, 1]


def test_drawings_of_one_tone_are_told_apart_by_it() -> None:
    black, grey = (Image.new("RGBA", (40, 40), (tone, tone, tone, 255)) for tone in (0, 120))
    assert same_drawings(black, grey, black.copy(), Image.new("RGBA", (40, 40), "white")) == [0, 1, 0, 3]


def test_groups_agree_with_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    greys = np.stack([np.asarray(drawing(int(seed)).convert("L").resize((24, 24))) for seed in rng.integers(0, 12, 40)])
    greys = np.clip(greys + rng.normal(0, 4, greys.shape), 0, 255).astype(np.uint8)
    greys[::3] = greys[::3, :, ::-1]
    first = [
        min(
            other
            for other in range(len(greys))
            if max(
                np.corrcoef(greys[index].ravel(), twin.ravel())[0, 1] for twin in (greys[other], greys[other][:, ::-1])
            )
            > 0.92
        )
        for index in range(len(greys))
    ]
    assert same_drawing_groups(greys, np.ones(len(greys), np.float32)).tolist() == first
