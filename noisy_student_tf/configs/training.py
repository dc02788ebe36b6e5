"""Settings of one training: network, image noise, optimizer, losses, length."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The students' architecture, and the teacher's unless told otherwise."""

    name: str = options.option(
        "efficientnet-b0",
        "efficientnet-b0 ... -b8, -l0, -l1, -l2 or -lite0 ... -lite4.",
    )
    width: float = options.option(
        0.0, "Channel multiplier. 0: the variant's own."
    )
    depth: float = options.option(
        0.0, "Repeat multiplier. 0: the variant's own."
    )
    resolution: int = options.option(
        224,
        "Side of the training images in pixels.",
        accepts=("8 or more", lambda value: value >= 8),
    )
    small_image_strides: bool = options.option(
        False, "Stages 2 and 3 at stride 1, as published for SVHN at 32 x 32."
    )
    dropout_rate: float = options.option(
        -1.0,
        "Dropout before the classifier. -1: the variant's own.",
        accepts=(
            "-1 or a rate in [0, 1)",
            lambda value: value == -1 or 0 <= value < 1,
        ),
    )
    stochastic_depth_rate: float = options.share_below_one(
        0.2, "Drop rate r of the last block; block i of n gets r * i / n."
    )
    batch_norm_momentum: float = options.option(
        0.99, "Momentum of the statistics."
    )
    batch_norm_frozen: bool = options.option(
        False,
        "Normalize by the statistics of --model.initial_weights, also while "
        "training: those of small batches of few images say little.",
    )
    batch_norm_group_size: int = options.option(
        0,
        "Replicas that normalize by a common batch. 0: as published, an "
        "eighth of the replicas and at least 8.",
    )
    recompute: bool = options.option(
        False,
        "Save memory: compute a block's activations a second time.",
        affects="rounding",
    )
    mean_rgb: tuple[float, ...] = options.option(
        (),
        "Subtracted from images in [0, 255]. Empty: the variant's own, which "
        "is ImageNet's, or 127 for Lite.",
        accepts=("three numbers, or none", lambda value: len(value) in (0, 3)),
    )
    std_rgb: tuple[float, ...] = options.option(
        (),
        "Divides images in [0, 255]. Empty: the variant's own, which is "
        "ImageNet's, or 128 for Lite.",
        accepts=(
            "three positive numbers, or none",
            lambda value: len(value) in (0, 3) and min(value, default=1) > 0,
        ),
    )
    head_initializer: Literal["published", "fan_in", "zeros"] = options.option(
        "published",
        "Of the classifier. published: uniform within 1 / sqrt(classes), "
        "over-confident with few; fan_in: within 1 / sqrt(features).",
    )
    initial_weights: str = options.option(
        "",
        "A trained or imported model whose averages the teacher begins with; "
        "its classifier too if the classes are the same. efficientnet-lite0, "
        "-lite1 or -lite2: the installed package's. Empty: from scratch.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "model.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The image noise of one stream."""

    crop: Literal["inception", "pad", "none"] = options.option(
        "inception",
        "inception: random area and aspect; pad: reflect padding and a random "
        "crop; none: the test crop.",
    )
    pad_pixels: int = options.option(4, "Padding of --crop=pad, in pixels.")
    horizontal_flip: bool = options.option(True, "Mirror half of the images.")
    policy: Literal["none", "randaugment", "keras_cv"] = options.option(
        "randaugment", "What follows crop and flip."
    )
    num_ops: int = options.option(2, "RandAugment's N: operations per image.")
    magnitude: float = options.option(
        27.0, "RandAugment's M; 10 is the nominal top."
    )
    translate_pixels: float = options.option(
        100.0, "Shift at magnitude 10, in pixels of the training image."
    )
    cutout_pixels: float = options.option(
        40.0, "Half the side of cutout's square at magnitude 10, in pixels."
    )
    extra_cutout_pixels: int = options.option(
        0, "Half the side of a square cut from every image. 0: none."
    )
    level_range: Literal["published", "clipped"] = options.option(
        "published",
        "published: magnitudes above 10 leave the operations' nominal ranges, "
        "as they did in the paper's runs; clipped: they count as 10.",
    )
    contrast: Literal["published", "corrected"] = options.option(
        "published",
        "published: blend with a constant that follows from the image's size; "
        "corrected: with the mean gray level.",
    )
    scaled_decoding: bool = options.option(
        False,
        "Decode JPEGs at 1/2, 1/4 or 1/8 of their size where the crop stays "
        "larger than the result: faster for large photographs, not the "
        "published pixels.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "augmentation.*.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """The image noise, separately for labeled and unlabeled images."""

    labeled: PolicyConfig = PolicyConfig()
    unlabeled: PolicyConfig = PolicyConfig()
    mixup_alpha: float = options.option(
        0.0,
        "Mixup: images and labels of two images are blended, with a share "
        "drawn from Beta(alpha, alpha). 0: never.",
    )
    cutmix_alpha: float = options.option(
        0.0,
        "CutMix: a box of another image is pasted, labels are blended by "
        "area; beside mixup, each image gets one of the two. 0: never.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "augmentation.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, schedule, weight decay and the average of the weights."""

    name: Literal["rmsprop", "sgd", "adamw", "lamb"] = options.option(
        "rmsprop",
        "rmsprop (TensorFlow 1's arithmetic), sgd with momentum, or Keras' "
        "adamw or lamb.",
    )
    base_learning_rate: float = options.positive(
        0.016, "Peak rate per 256 labeled images of the global batch."
    )
    schedule: Literal["exponential", "cosine", "constant"] = options.option(
        "exponential", "exponential decays in stairs, as published."
    )
    warmup_epochs: float = options.option(5.0, "Linear warm-up from 0.")
    warmup_share: float = options.share(
        0.0, "Least share of a training that is warm-up."
    )
    layer_decay: float = options.option(
        1.0,
        "Rate of each block as a share of the next one's; the classifier has "
        "the whole rate. For weights that know much already.",
        accepts=("in (0, 1]", lambda value: 0 < value <= 1),
    )
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
        0.9999, "Average of all weights, ramped up as (1 + t) / (10 + t)."
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
        0.1, "Of hard labels, true or pseudo; soft labels are left alone."
    )
    class_weights: Literal["none", "balanced"] = options.option(
        "none",
        "balanced: labeled images count by the inverse of their class's "
        "share, where classes have unequal numbers of labels.",
    )
    pseudo_labels: Literal["soft", "hard"] = options.option(
        "soft", "The teacher's probabilities, or its class."
    )
    temperature: float = options.positive(
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
        options.check_fields(self, "loss.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, durations, and what is written while training."""

    labeled_batch_size: int = options.positive(
        2048, "Labeled images of the global batch."
    )
    unlabeled_ratio: float = options.positive(
        3.0, "Unlabeled images per labeled one in a student's batch."
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
        350.0, "Length of the teacher's training, in labeled epochs."
    )
    student_epochs: float = options.positive(
        350.0, "Length of each student's training, in labeled epochs."
    )
    frozen_blocks: int = options.option(
        0,
        "Blocks that keep, with the stem, the weights of "
        "--model.initial_weights, which takes less time. 0: all train, the "
        "stem too.",
    )
    min_steps: int = options.option(
        0,
        "Least length of a training in steps, for few labeled images, whose "
        "epochs are short.",
    )
    steps_per_loop: int = options.positive(
        1000, "Steps between log lines, and in one call of the device."
    )
    evaluate_every_steps: int = options.positive(
        5000, "Steps between validations; rounded to whole loops."
    )
    checkpoint_every_steps: int = options.positive(
        5000, "Steps between checkpoints; rounded to whole loops."
    )
    keep_checkpoints: int = options.positive(
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
    evaluation_batch_size: int = options.positive(
        1024,
        "Global batch of evaluation and prediction; prediction halves it "
        "where shards are small.",
    )
    shuffle_buffer_size: int = options.positive(
        16384, "Raw records held for shuffling, per stream (ImageNet: 2 GB)."
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
