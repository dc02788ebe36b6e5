"""The configuration of a run: one frozen tree, validated.

Every field is a flag (`--optimizer.base_learning_rate=0.02`); its help text
stands beside it. Defaults are the paper's and the authors' code's values for
ImageNet. Nothing writes to a configuration after it was made; numbers that
follow from it are functions of it, not fields.
"""

import dataclasses
from typing import Any

from noisy_student_tf.configs import options
from noisy_student_tf.configs.data import (
    AugmentationConfig,
    DataConfig,
    PolicyConfig,
)
from noisy_student_tf.configs.model import (
    IMAGENET_MEAN_RGB,
    IMAGENET_STD_RGB,
    ModelConfig,
)
from noisy_student_tf.configs.runtime import RuntimeConfig
from noisy_student_tf.configs.self_training import (
    EvaluationConfig,
    FixResConfig,
    LabelingConfig,
    SelectionConfig,
    SelfTrainingConfig,
)
from noisy_student_tf.configs.training import (
    LossConfig,
    OptimizerConfig,
    TrainingConfig,
)

__all__ = [
    "IMAGENET_MEAN_RGB",
    "IMAGENET_STD_RGB",
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
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = dataclasses.field(
        default_factory=AugmentationConfig
    )
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=OptimizerConfig
    )
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    labeling: LabelingConfig = dataclasses.field(default_factory=LabelingConfig)
    selection: SelectionConfig = dataclasses.field(
        default_factory=SelectionConfig
    )
    self_training: SelfTrainingConfig = dataclasses.field(
        default_factory=SelfTrainingConfig
    )
    fixres: FixResConfig = dataclasses.field(default_factory=FixResConfig)
    evaluation: EvaluationConfig = dataclasses.field(
        default_factory=EvaluationConfig
    )
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        options.check_fields(self)
        options.check(
            self.training.unlabeled_batch_size >= 1,
            "training.unlabeled_ratio",
            self.training.unlabeled_ratio,
            "a ratio that gives at least one unlabeled image a batch",
        )

    @property
    def teacher_model(self) -> ModelConfig:
        """The architecture of the first teacher."""
        overrides = self.self_training
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
        return dataclasses.replace(self.model, **changes)
