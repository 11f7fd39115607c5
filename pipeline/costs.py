"""What a model costs: parameters, operations, and the sizes of what is stored of it; computed once per configuration.

Counting needs torch, which takes seconds to import, so the results are kept in the cache folder of the project.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path

from mlkd.core.cache import cache_root
from mlkd.models.config import Model
from pipeline.runner.identity import package_version, plain
from pipeline.runner.result import digest, read_json, write_json

VERSION = 1  # of what is counted and how


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """The cost of a model for one image; sizes in float16 values, 0 and empty where nothing is stored."""

    parameters: int
    multiply_adds: int
    head_multiply_adds: int
    features: int  # of the frozen layers
    maps: tuple[int, ...]  # of the stages, shallow first
    trained_maps: int  # how many of them depend on trained layers
    features_limit: int  # bytes of all images and views; larger features and maps are not stored
    maps_limit: int


def known(model: Model, frozen_groups: int, labels: int) -> ModelCost | None:
    """Return the cost if it was counted before."""
    try:
        facts = read_json(_file(model, frozen_groups, labels))
        return ModelCost(**{**facts, "maps": tuple(facts["maps"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def count(model: Model, frozen_groups: int, labels: int) -> ModelCost:
    """Return the cost, counted now if it was not before.  Raises ValueError if timm has no such backbone."""
    before = known(model, frozen_groups, labels)
    if before is not None:
        return before
    counted = _count(model, frozen_groups, labels)
    with contextlib.suppress(OSError):  # without a cache it is counted each time
        file = _file(model, frozen_groups, labels)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(counted))
    return counted


def _file(model: Model, frozen_groups: int, labels: int) -> Path:
    parts = plain(model)
    del parts["weights"]
    versions = [VERSION, package_version("timm")]
    return cache_root() / "costs" / f"{digest([parts, frozen_groups, labels, versions])[:32]}.json"


def _count(model: Model, frozen_groups: int, labels: int) -> ModelCost:
    import torch

    from mlkd.models import frozen
    from mlkd.models.cost import cost
    from mlkd.models.feature_cache import LIMIT_BYTES
    from mlkd.teachers.record import MAPS_BYTES

    numbers = cost(model, labels)
    tagger = model.build(labels, pretrained=False)
    frozen.freeze(tagger, frozen_groups)
    front = frozen.cut(tagger)
    probe = torch.zeros(1, model.image_px, model.image_px, 3, dtype=torch.uint8)
    maps: tuple[int, ...] = ()
    trained = 0
    with contextlib.suppress(ValueError):  # a backbone without stage maps
        maps = tuple(channels * height * width for channels, height, width in tagger.stage_shapes())
        trained = len(tagger.stage_shapes(trainable=True))
    return ModelCost(
        parameters=numbers.parameters,
        multiply_adds=numbers.multiply_adds,
        head_multiply_adds=numbers.head_multiply_adds,
        features=front.features(probe).numel() if front else 0,
        maps=maps,
        trained_maps=trained,
        features_limit=LIMIT_BYTES,
        maps_limit=MAPS_BYTES,
    )
