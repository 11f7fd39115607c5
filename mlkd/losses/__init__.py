"""Losses for multi-label distillation: each is a sum over labels and a mean over images."""

from mlkd.losses.asymmetric import Asymmetric
from mlkd.losses.bce import Bce
from mlkd.losses.class_aware import ClassAware
from mlkd.losses.instance_aware import InstanceAware
from mlkd.losses.kd import Kd
from mlkd.losses.label_kl import LabelKL
from mlkd.losses.label_map_kl import LabelMapKL
from mlkd.losses.mse import Mse
from mlkd.losses.partial_softmax import PartialSoftmax
from mlkd.losses.pca_maps import PcaMaps
from mlkd.losses.pkt import Pkt
from mlkd.losses.reviewkd import ReviewKD
from mlkd.losses.rkd import Rkd

Loss = (
    Bce
    | LabelKL
    | LabelMapKL
    | ClassAware
    | InstanceAware
    | Asymmetric
    | Mse
    | PartialSoftmax
    | Rkd
    | Pkt
    | PcaMaps
    | ReviewKD
    | Kd
)

__all__ = [
    "Asymmetric",
    "Bce",
    "ClassAware",
    "InstanceAware",
    "Kd",
    "LabelKL",
    "LabelMapKL",
    "Loss",
    "Mse",
    "PartialSoftmax",
    "PcaMaps",
    "Pkt",
    "ReviewKD",
    "Rkd",
]
