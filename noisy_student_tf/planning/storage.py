"""Bytes that the stages of a run write."""

import dataclasses

from noisy_student_tf import configs
from noisy_student_tf.planning import compute

_FLOAT16_BYTES = 2
_FLOAT32_BYTES = 4
# Id, class and confidence of a prediction or a selected row.
_ROW_BYTES = 24
# Weights and their averages, and the optimizer's slots beside each weight.
_WEIGHT_COPIES = 2
_SLOTS = {"rmsprop": 2, "sgd": 1}
_OTHER_SLOTS = 2


@dataclasses.dataclass(frozen=True)
class Line:
    """What one stage stores, in bytes."""

    name: str
    num_bytes: float
    what: str


def lines(
    config: configs.Config,
    data: compute.Data,
    *,
    labeled_image_bytes: float,
    unlabeled_image_bytes: float,
    num_parameters: int,
) -> list[Line]:
    """Return what every stage stores.

    Args:
        config: The run.
        data: Its images.
        labeled_image_bytes: Mean size of a stored labeled picture.
        unlabeled_image_bytes: Mean size of a stored unlabeled picture.
        num_parameters: Of the student.
    """
    soft_label = _FLOAT16_BYTES * config.data.num_classes + _ROW_BYTES
    checkpoint = training_state_bytes(config, num_parameters)
    kept = config.training.keep_checkpoints
    result = [
        Line(
            "labeled",
            data.num_labeled * labeled_image_bytes,
            f"{data.num_labeled:,} pictures",
        ),
        Line(
            "unlabeled",
            data.num_unlabeled * unlabeled_image_bytes,
            f"{data.num_unlabeled:,} pictures",
        ),
    ]
    for iteration in range(1, config.self_training.num_iterations + 1):
        result += [
            Line(
                f"predictions_{iteration}",
                data.num_unlabeled * soft_label,
                "float16 probabilities",
            ),
            Line(
                f"selection_{iteration}",
                data.num_selected * _ROW_BYTES,
                f"{data.num_selected:,} ids",
            ),
            Line(
                f"pseudo_labeled_{iteration}",
                data.num_selected * (unlabeled_image_bytes + soft_label),
                "the selected pictures once, with their copies as a number",
            ),
            Line(
                f"student_{iteration}",
                kept * checkpoint,
                f"{kept} checkpoints",
            ),
        ]
    return result


def training_state_bytes(config: configs.Config, num_parameters: int) -> int:
    """Return the bytes of the weights, averages and the optimizer's slots."""
    slots = _SLOTS.get(config.optimizer.name, _OTHER_SLOTS)
    return _FLOAT32_BYTES * num_parameters * (_WEIGHT_COPIES + slots)
