"""The configuration of a run: one frozen tree, validated.

Every field is a flag (`--optimizer.base_learning_rate=0.02`); its help text
stands beside it. Defaults are the paper's and the authors' code's values for
ImageNet. Nothing writes to a configuration after it was made; numbers that
follow from it are functions of it, not fields.
"""

import dataclasses

from noisy_student_tf.configs import options
from noisy_student_tf.configs.data import DataConfig
from noisy_student_tf.configs.finishing import EvaluationConfig, FixResConfig
from noisy_student_tf.configs.model import (
    IMAGENET_MEAN_RGB,
    IMAGENET_STD_RGB,
    ModelConfig,
)
from noisy_student_tf.configs.noise import AugmentationConfig, PolicyConfig
from noisy_student_tf.configs.runtime import RuntimeConfig
from noisy_student_tf.configs.self_training import (
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
    seed: int = options.option(0, "Seed of every random draw.")
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
        options.check(
            0 <= self.seed < 2**31, "seed", self.seed, "an integer in [0, 2^31)"
        )
        training = self.training
        ratio = training.unlabeled_ratio
        kept = training.labeled_batch_size * training.labeled_keep_probability
        options.check(
            round(kept * ratio) >= 1,
            "training.unlabeled_ratio",
            ratio,
            "a ratio that gives at least one unlabeled image a batch",
        )
