"""Settings of optimizer, losses, batches and durations."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, schedule, weight decay and the average of the weights."""

    name: Literal["rmsprop", "sgd", "adamw", "lamb"] = options.option(
        "rmsprop",
        "rmsprop (TensorFlow 1's arithmetic), sgd with momentum, or Keras' "
        "adamw or lamb.",
    )
    base_learning_rate: float = options.positive(
        0.016,
        "Peak rate per 256 labeled images of the global batch.",
    )
    schedule: Literal["exponential", "cosine", "constant"] = options.option(
        "exponential", "exponential decays in stairs, as published."
    )
    warmup_epochs: float = options.option(5.0, "Linear warm-up from 0.")
    decay_rate: float = options.positive(0.97, "Factor of one stair.")
    decay_epochs: float = options.positive(2.4, "Length of one stair.")
    momentum: float = options.share_below_one(
        0.9, "Momentum of rmsprop and sgd."
    )
    rms_decay: float = options.share_below_one(
        0.9, "RMSProp's decay of the second moment."
    )
    epsilon: float = options.positive(
        1e-3, "RMSProp's epsilon, inside the root."
    )
    adam_beta_1: float = options.share_below_one(
        0.9, "First decay of adamw and lamb."
    )
    adam_beta_2: float = options.share_below_one(
        0.999, "Second decay of adamw and lamb."
    )
    adam_epsilon: float = options.positive(1e-6, "Epsilon of adamw and lamb.")
    weight_decay: float = options.option(
        1e-5,
        "rmsprop, sgd: coupled L2, weight_decay * sum(v^2) / 2 in the loss; "
        "adamw, lamb: decoupled, each step takes learning rate * weight_decay "
        "* v off. Normalization is never decayed.",
    )
    ema_decay: float = options.share_below_one(
        0.9999,
        "Average of all weights, ramped up as (1 + t) / (10 + t).",
    )
    global_clip_norm: float = options.option(
        0.0, "Gradients are clipped to it after the all-reduce. 0: never."
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "optimizer.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropies of labeled and pseudo-labeled images."""

    label_smoothing: float = options.share_below_one(
        0.1,
        "Of hard labels, true or pseudo; soft labels are left alone.",
    )
    pseudo_labels: Literal["soft", "hard"] = options.option(
        "soft", "The teacher's probabilities, or its class."
    )
    temperature: float = options.positive(
        1.0,
        "Soft labels are sharpened or flattened to p^(1/T), renormalized.",
    )
    weighting: Literal["labeled", "all", "pseudo_labels"] = options.option(
        "labeled",
        "labeled: mean over labeled + ratio * mean over unlabeled, as "
        "published; all: the mean over the whole batch; pseudo_labels: a "
        "student's labeled images only take part in batch normalization, as "
        "in the ablation that pre-trains on pseudo-labels.",
    )
    labeled_mean: Literal["kept", "batch"] = options.option(
        "kept",
        "What the labeled losses' sum is divided by where "
        "--training.labeled_keep_probability is below 1. kept: the images "
        "expected to be kept; batch: all, as published, which shrinks the "
        "labeled term.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "loss.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, durations, and what is written while training."""

    labeled_batch_size: int = options.positive(
        2048, "Labeled images of the global batch."
    )
    unlabeled_ratio: float = options.positive(
        3.0,
        "Unlabeled images per labeled one in a student's batch.",
    )
    labeled_keep_probability: float = options.option(
        1.0,
        "Share of the labeled images whose loss counts, drawn at random: for "
        "labeled batches smaller than the number of replicas. Learning rate, "
        "epochs and unlabeled images follow the images kept.",
        accepts=("in (0, 1]", lambda value: 0 < value <= 1),
    )
    noise_unlabeled: bool = options.option(
        True, "Dropout and stochastic depth for unlabeled images, too."
    )
    accumulation_steps: int = options.positive(
        1,
        "Parts of a batch whose gradients are summed before the update; each "
        "part is normalized by itself.",
    )
    teacher_epochs: float = options.positive(
        350.0,
        "Length of the teacher's training, in labeled epochs.",
    )
    student_epochs: float = options.positive(
        350.0,
        "Length of each student's training, in labeled epochs.",
    )
    steps_per_loop: int = options.positive(
        1000,
        "Steps between log lines, and in one call of the device.",
    )
    evaluate_every_steps: int = options.positive(
        5000,
        "Steps between validations; rounded to whole loops.",
    )
    checkpoint_every_steps: int = options.positive(
        5000,
        "Steps between checkpoints; rounded to whole loops.",
    )
    keep_checkpoints: int = options.positive(
        3,
        "Newest checkpoints kept, beside the best on validation images.",
    )
    final_weights: Literal["last", "best"] = options.option(
        "last",
        "What a model ends with: its last step, or the checkpoint whose "
        "averages were best on validation images.",
    )
    max_rollbacks: int = options.option(
        0,
        "How often a loss that is not finite sends a run back to its last "
        "checkpoint, to go on behind the batches since then. 0: it stops.",
    )
    evaluation_batch_size: int = options.positive(
        1024,
        "Global batch of evaluation and prediction; prediction halves it "
        "where shards are small.",
    )
    shuffle_buffer_size: int = options.positive(
        16384,
        "Raw records held for shuffling, per stream (ImageNet: 2 GB).",
    )

    @property
    def kept_labeled_batch_size(self) -> float:
        """Labeled images of a global batch whose loss counts."""
        return self.labeled_batch_size * self.labeled_keep_probability

    @property
    def unlabeled_batch_size(self) -> int:
        """Unlabeled images of a student's global batch.

        They follow the labeled images kept, as in the authors' code.
        """
        return round(self.kept_labeled_batch_size * self.unlabeled_ratio)

    def __post_init__(self) -> None:
        options.check_fields(self, "training.")
