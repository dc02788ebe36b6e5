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
    base_learning_rate: float = options.option(
        0.016, "Peak rate per 256 labeled images of the global batch."
    )
    schedule: Literal["exponential", "cosine", "constant"] = options.option(
        "exponential", "exponential decays in stairs, as published."
    )
    warmup_epochs: float = options.option(5.0, "Linear warm-up from 0.")
    decay_rate: float = options.option(0.97, "Factor of one stair.")
    decay_epochs: float = options.option(2.4, "Length of one stair.")
    momentum: float = options.option(0.9, "Momentum of rmsprop and sgd.")
    rms_decay: float = options.option(
        0.9, "RMSProp's decay of the second moment."
    )
    epsilon: float = options.option(1e-3, "RMSProp's epsilon, inside the root.")
    adam_beta_1: float = options.option(0.9, "First decay of adamw and lamb.")
    adam_beta_2: float = options.option(
        0.999, "Second decay of adamw and lamb."
    )
    adam_epsilon: float = options.option(1e-6, "Epsilon of adamw and lamb.")
    weight_decay: float = options.option(
        1e-5,
        "rmsprop, sgd: coupled L2, weight_decay * sum(v^2) / 2 in the loss; "
        "adamw, lamb: decoupled, each step takes learning rate * weight_decay "
        "* v off. Normalization is never decayed.",
    )
    ema_decay: float = options.option(
        0.9999, "Average of all weights, ramped up as (1 + t) / (10 + t)."
    )
    global_clip_norm: float = options.option(
        0.0, "Gradients are clipped to it after the all-reduce. 0: never."
    )

    def __post_init__(self) -> None:
        options.check_choices(self, "optimizer")
        options.check(
            self.base_learning_rate > 0,
            "optimizer.base_learning_rate",
            self.base_learning_rate,
            "a positive rate",
        )
        for name in ("warmup_epochs", "weight_decay", "global_clip_norm"):
            value = getattr(self, name)
            options.check(value >= 0, f"optimizer.{name}", value, "0 or more")
        for name in (
            "momentum",
            "rms_decay",
            "ema_decay",
            "adam_beta_1",
            "adam_beta_2",
        ):
            value = getattr(self, name)
            options.check(
                0 <= value < 1, f"optimizer.{name}", value, "in [0, 1)"
            )
        for name in ("decay_rate", "decay_epochs", "epsilon", "adam_epsilon"):
            value = getattr(self, name)
            options.check(value > 0, f"optimizer.{name}", value, "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropies of labeled and pseudo-labeled images."""

    label_smoothing: float = options.option(
        0.1, "Of hard labels, true or pseudo; soft labels are left alone."
    )
    pseudo_labels: Literal["soft", "hard"] = options.option(
        "soft", "The teacher's probabilities, or its class."
    )
    temperature: float = options.option(
        1.0, "Soft labels are sharpened or flattened to p^(1/T), renormalized."
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
        options.check_choices(self, "loss")
        options.check(
            0 <= self.label_smoothing < 1,
            "loss.label_smoothing",
            self.label_smoothing,
            "in [0, 1)",
        )
        options.check(
            self.temperature > 0,
            "loss.temperature",
            self.temperature,
            "a positive number",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, durations, and what is written while training."""

    labeled_batch_size: int = options.option(
        2048, "Labeled images of the global batch."
    )
    unlabeled_ratio: float = options.option(
        3.0, "Unlabeled images per labeled one in a student's batch."
    )
    labeled_keep_probability: float = options.option(
        1.0,
        "Share of the labeled images whose loss counts, drawn at random: for "
        "labeled batches smaller than the number of replicas. Learning rate, "
        "epochs and unlabeled images follow the images kept.",
    )
    noise_unlabeled: bool = options.option(
        True, "Dropout and stochastic depth for unlabeled images, too."
    )
    accumulation_steps: int = options.option(
        1,
        "Parts of a batch whose gradients are summed before the update; each "
        "part is normalized by itself.",
    )
    teacher_epochs: float = options.option(
        350.0, "Length of the teacher's training, in labeled epochs."
    )
    student_epochs: float = options.option(
        350.0, "Length of each student's training, in labeled epochs."
    )
    steps_per_loop: int = options.option(
        1000, "Steps between log lines, and in one call of the device."
    )
    evaluate_every_steps: int = options.option(
        5000, "Steps between validations; rounded to whole loops."
    )
    checkpoint_every_steps: int = options.option(
        5000, "Steps between checkpoints; rounded to whole loops."
    )
    keep_checkpoints: int = options.option(
        3, "Newest checkpoints kept, beside the best on validation images."
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
    evaluation_batch_size: int = options.option(
        1024,
        "Global batch of evaluation and prediction; prediction halves it "
        "where shards are small.",
    )
    shuffle_buffer_size: int = options.option(
        16384, "Raw records held for shuffling, per stream (ImageNet: 2 GB)."
    )

    def __post_init__(self) -> None:
        options.check_choices(self, "training")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "max_rollbacks":
                options.check(
                    value >= 0, f"training.{field.name}", value, ">= 0"
                )
            elif not isinstance(value, bool | str):
                options.check(
                    value > 0, f"training.{field.name}", value, "positive"
                )
        options.check(
            self.labeled_keep_probability <= 1,
            "training.labeled_keep_probability",
            self.labeled_keep_probability,
            "in (0, 1]",
        )
