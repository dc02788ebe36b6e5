"""The configuration of a run: one frozen tree, validated.

Every field is a flag (`--optimizer.base_learning_rate=0.02`); its help text
stands beside it. Defaults are the paper's and the authors' code's values for
ImageNet. Nothing writes to a configuration after it was made; numbers that
follow from it are functions of it, not fields.
"""

# ruff: noqa: RUF009 - sections are frozen, and may be defaults as they are.

import dataclasses
from typing import Any

from noisy_student_tf.configs import options
from noisy_student_tf.configs.data import DataConfig
from noisy_student_tf.configs.self_training import (
    EvaluationConfig,
    FixResConfig,
    LabelingConfig,
    RuntimeConfig,
    SelectionConfig,
    SelfTrainingConfig,
)
from noisy_student_tf.configs.training import (
    AugmentationConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PolicyConfig,
    TrainingConfig,
)

__all__ = [
    "AugmentationConfig",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "FixResConfig",
    "LabelingConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PolicyConfig",
    "RuntimeConfig",
    "SelectionConfig",
    "SelfTrainingConfig",
    "TrainingConfig",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All of a run."""

    preset: str = options.option(
        "", "The preset that this configuration started as."
    )
    seed: int = options.option(
        0,
        "Seed of every random draw.",
        accepts=("an integer in [0, 2^31)", lambda value: 0 <= value < 2**31),
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    labeling: LabelingConfig = LabelingConfig()
    selection: SelectionConfig = SelectionConfig()
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    fixres: FixResConfig = FixResConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def __post_init__(self) -> None:
        options.check_fields(self)
        options.check(
            self.training.unlabeled_batch_size >= 1,
            "training.unlabeled_ratio",
            self.training.unlabeled_ratio,
            "a ratio that gives at least one unlabeled image a batch",
        )
        self._check_frozen()

    def _check_frozen(self) -> None:
        """Check that what stays as it began has begun as something."""
        loop = self.self_training
        has_weights = bool(
            self.model.initial_weights or loop.teacher_directory
        ) and (
            not loop.num_iterations
            or loop.initialize_students_from != "scratch"
        )
        for flag, value in (
            ("model.batch_norm_frozen", self.model.batch_norm_frozen),
            ("training.frozen_blocks", self.training.frozen_blocks),
        ):
            options.check(
                has_weights or not value,
                flag,
                value,
                f"{type(value)(0)} for models from scratch. Name weights with "
                "--model.initial_weights, and let students begin with weights "
                "by --self_training.initialize_students_from",
            )

    @property
    def teacher_model(self) -> ModelConfig:
        """The architecture of the first teacher."""
        section = self.self_training
        overrides: dict[str, Any] = {
            "name": section.teacher_name,
            "width": section.teacher_width,
            "depth": section.teacher_depth,
            "resolution": section.teacher_resolution,
        }
        changes = {name: value for name, value in overrides.items() if value}
        if "name" in changes:
            # Another variant brings its own multipliers.
            changes = {"width": 0.0, "depth": 0.0, **changes}
        return dataclasses.replace(self.model, **changes)
