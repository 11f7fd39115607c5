"""Features of a frozen front are computed once, are those of a pass over the images, and are complete or absent."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.data.prepared import Split, read_split
from mlkd.models import feature_cache, frozen
from mlkd.models.config import Model
from mlkd.models.feature_cache import FeatureCache, open_cache
from mlkd.models.heads import Pooled
from mlkd.models.network import TaggerNet

pytestmark = pytest.mark.usefixtures("load_in_process")
VIEWS = Views(count=2)
PX = 32


@pytest.fixture
def split(prepared: Path) -> Split:
    return read_split(prepared, "train")


def tagger(groups: int = 2) -> TaggerNet:
    torch.manual_seed(0)
    built = Model(backbone="test_resnet", image_px=PX, head=Pooled()).build(3)
    frozen.freeze(built, groups)
    return built.eval()


def cache(split: Split, folder: Path) -> FeatureCache:
    found = open_cache(tagger(), split, VIEWS, 5, folder)
    assert found is not None
    return found


def test_a_view_holds_the_features_of_its_augmented_images(split: Split, tmp_path: Path) -> None:
    features = cache(split, tmp_path).view(1, silent)
    pixels = split.pixels(PX)
    for row in (0, len(split) - 1):
        image = VIEWS.apply(pixels[row], seed=5, row=row, view=1)[None]
        expected = cache(split, tmp_path).cut.features(image)[0].numpy()
        np.testing.assert_allclose(features[row], expected, rtol=2e-3, atol=1e-3)
    assert features.dtype == np.float16
    assert cache(split, tmp_path).bytes() == 2 * features.nbytes


def test_a_view_is_computed_once_for_all_trainings_with_the_same_front(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(cache(split, tmp_path).view(0, silent))
    monkeypatch.setattr(FeatureCache, "_fill", None)
    np.testing.assert_array_equal(cache(split, tmp_path).view(0, silent), first)


def test_other_views_seeds_and_weights_have_files_of_their_own(split: Split, tmp_path: Path) -> None:
    one = cache(split, tmp_path)
    other = tagger()
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1)
    files = {
        one._file(0),
        one._file(1),
        FeatureCache(one.cut, split, Views(count=2, flip=False), 5, tmp_path)._file(0),
        FeatureCache(one.cut, split, VIEWS, 6, tmp_path)._file(0),
        *(FeatureCache(found, split, VIEWS, 5, tmp_path)._file(0) for found in [frozen.cut(other)] if found),
    }
    assert len(files) == 5


def test_an_interrupted_view_is_absent(split: Split, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(split, tmp_path).view(0, interrupt)
    assert not list(tmp_path.glob("*.npy"))
    assert len(cache(split, tmp_path).view(0, silent)) == len(split)


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_view_is_named_and_computed_again(
    cut: bool, split: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = np.array(cache(split, tmp_path).view(0, silent))
    file = cache(split, tmp_path)._file(0)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    file.write_bytes(content[:-1] if cut else content)
    np.testing.assert_array_equal(cache(split, tmp_path).view(0, silent), expected)
    assert f"{file}: expected the features that were written, got others; they are computed again" in caplog.text


def test_a_cache_above_the_limit_is_not_made(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(feature_cache, "LIMIT_BYTES", 100)
    assert open_cache(tagger(), split, VIEWS, 5, tmp_path) is None
    assert "they are computed in every step" in caplog.text


def test_a_model_without_a_frozen_front_has_no_cache(split: Split, tmp_path: Path) -> None:
    assert open_cache(tagger(0), split, VIEWS, 5, tmp_path) is None
