"""Numbers and parts that follow from a configuration."""

import dataclasses
from typing import Any

from noisy_student_tf import configs


def kept_labeled_batch_size(training: configs.TrainingConfig) -> float:
    """Return the labeled images of a global batch whose loss counts."""
    return training.labeled_batch_size * training.labeled_keep_probability


def unlabeled_batch_size(training: configs.TrainingConfig) -> int:
    """Return the unlabeled images of a student's global batch.

    They follow the labeled images kept, as in the authors' code.
    """
    return round(kept_labeled_batch_size(training) * training.unlabeled_ratio)


def teacher_model(settings: configs.Config) -> configs.ModelConfig:
    """Return the architecture of the first teacher."""
    overrides = settings.self_training
    changes: dict[str, Any] = {}
    if overrides.teacher_name:
        # Another variant brings its own multipliers.
        changes = {
            "name": overrides.teacher_name,
            "width": 0.0,
            "depth": 0.0,
        }
    if overrides.teacher_width:
        changes["width"] = overrides.teacher_width
    if overrides.teacher_depth:
        changes["depth"] = overrides.teacher_depth
    if overrides.teacher_resolution:
        changes["resolution"] = overrides.teacher_resolution
    return dataclasses.replace(settings.model, **changes)
