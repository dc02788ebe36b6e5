"""The configuration of a run: one frozen tree, validated.

Every field is a flag (`--optimizer.base_learning_rate=0.02`); its help text
stands beside it. Defaults are the paper's and the authors' code's values for
ImageNet. Nothing writes to a configuration after it was made; numbers that
follow from it are functions of it, not fields.
"""

import dataclasses
import typing
from typing import Any, Literal

IMAGENET_MEAN_RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD_RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def _option(default: Any, help: str) -> Any:
    """Declare a field with the help text that its flag shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def _check(holds: bool, flag: str, value: object, accepted: str) -> None:
    if not holds:
        raise ValueError(f"--{flag}={value}: accepted is {accepted}.")


def _check_choices(section: Any, prefix: str) -> None:
    """Check every field of a literal type against its choices."""
    for name, annotation in typing.get_type_hints(type(section)).items():
        choices = typing.get_args(annotation)
        if typing.get_origin(annotation) is Literal:
            value = getattr(section, name)
            _check(
                value in choices, f"{prefix}.{name}", value, f"one of {choices}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where images come from, and how one source is split."""

    labeled: str = _option(
        "",
        "Source of labeled images: digits, idx:DIR, folder:DIR, tar:GLOB, "
        "csv:FILE, tfds:NAME, imagenet:GLOB or a glob of our own shards.",
    )
    unlabeled: str = _option(
        "",
        "Source of unlabeled images (also files:DIR). Empty: what the splits "
        "leave of the labeled source.",
    )
    evaluation: str = _option(
        "",
        "Source of held-out labeled images. Empty: a split of the labeled "
        "source.",
    )
    num_classes: int = _option(
        0, "Number of classes. 0: as many as the labeled source has."
    )
    labeled_per_class: int = _option(
        0, "Labeled images per class to train on. 0: all."
    )
    evaluation_fraction: float = _option(
        0.2,
        "Share of the labeled source held out for evaluation, where no "
        "evaluation source is given.",
    )
    validation_fraction: float = _option(
        0.1, "Share of the labeled source held out for choices (validation)."
    )
    num_shards: int = _option(8, "TFRecord shards per split.")
    max_corrupt_fraction: float = _option(
        0.01, "Unreadable images tolerated, as a share of each source."
    )
    max_stored_side: int = _option(
        0, "Longest side of stored images in pixels. 0: stored as they are."
    )
    allow_overlap: bool = _option(
        False, "Accept images that are in the training and held-out sets."
    )
    beam_runner: str = _option(
        "DirectRunner", "Apache Beam runner of all work on shards."
    )
    beam_options: str = _option(
        "", "Beam's own options, as on a command line: '--option=value ...'."
    )

    def __post_init__(self) -> None:
        for name in ("evaluation_fraction", "validation_fraction"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"data.{name}", value, "0 <= value < 1")
        _check(
            self.evaluation_fraction + self.validation_fraction < 1,
            "data.evaluation_fraction",
            self.evaluation_fraction,
            "a share that leaves training images beside "
            f"--data.validation_fraction={self.validation_fraction}",
        )
        _check(
            0 <= self.max_corrupt_fraction <= 1,
            "data.max_corrupt_fraction",
            self.max_corrupt_fraction,
            "a share in [0, 1]",
        )
        for name in ("num_classes", "labeled_per_class", "max_stored_side"):
            value = getattr(self, name)
            _check(value >= 0, f"data.{name}", value, "0 or more")
        _check(self.num_shards >= 1, "data.num_shards", self.num_shards, ">= 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The students' architecture, and the teacher's unless told otherwise."""

    name: str = _option(
        "efficientnet-b0", "efficientnet-b0 ... -b8, -l0, -l1 or -l2."
    )
    width: float = _option(0.0, "Channel multiplier. 0: the variant's own.")
    depth: float = _option(0.0, "Repeat multiplier. 0: the variant's own.")
    resolution: int = _option(224, "Side of the training images in pixels.")
    small_image_strides: bool = _option(
        False, "Stages 2 and 3 at stride 1, as published for SVHN at 32 x 32."
    )
    dropout_rate: float = _option(
        -1.0, "Dropout before the classifier. -1: the variant's own."
    )
    stochastic_depth_rate: float = _option(
        0.2, "Drop rate r of the last block; block i of n gets r * i / n."
    )
    batch_norm_momentum: float = _option(0.99, "Momentum of the statistics.")
    batch_norm_group_size: int = _option(
        0,
        "Replicas that normalize by a common batch. 0: as published, an "
        "eighth of the replicas and at least 8.",
    )
    recompute: bool = _option(
        False, "Save memory: compute a block's activations a second time."
    )
    mean_rgb: tuple[float, ...] = _option(
        IMAGENET_MEAN_RGB, "Subtracted from images in [0, 255]."
    )
    std_rgb: tuple[float, ...] = _option(
        IMAGENET_STD_RGB, "Divides images in [0, 255]."
    )
    head_initializer: Literal["published", "fan_in", "zeros"] = _option(
        "published",
        "Of the classifier. published: uniform within 1 / sqrt(classes), "
        "over-confident with few; fan_in: within 1 / sqrt(features).",
    )
    initial_weights: str = _option(
        "",
        "A trained or imported model whose averages the teacher begins with; "
        "its classifier too if the classes are the same. Empty: from scratch.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "model")
        _check(self.width >= 0, "model.width", self.width, "0 or more")
        _check(self.depth >= 0, "model.depth", self.depth, "0 or more")
        _check(
            self.resolution >= 8, "model.resolution", self.resolution, ">= 8"
        )
        _check(
            self.dropout_rate == -1 or 0 <= self.dropout_rate < 1,
            "model.dropout_rate",
            self.dropout_rate,
            "-1 or a rate in [0, 1)",
        )
        _check(
            0 <= self.stochastic_depth_rate < 1,
            "model.stochastic_depth_rate",
            self.stochastic_depth_rate,
            "a rate in [0, 1)",
        )
        _check(
            self.batch_norm_group_size >= 0,
            "model.batch_norm_group_size",
            self.batch_norm_group_size,
            "0 or more",
        )
        for name in ("mean_rgb", "std_rgb"):
            value = getattr(self, name)
            _check(len(value) == 3, f"model.{name}", value, "three numbers")
        _check(min(self.std_rgb) > 0, "model.std_rgb", self.std_rgb, "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The image noise of one stream."""

    crop: Literal["inception", "pad", "none"] = _option(
        "inception",
        "inception: random area and aspect; pad: reflect padding and a random "
        "crop; none: the test crop.",
    )
    pad_pixels: int = _option(4, "Padding of --crop=pad, in pixels.")
    horizontal_flip: bool = _option(True, "Mirror half of the images.")
    policy: Literal["none", "randaugment", "keras_cv"] = _option(
        "randaugment", "What follows crop and flip."
    )
    num_ops: int = _option(2, "RandAugment's N: operations per image.")
    magnitude: float = _option(27.0, "RandAugment's M; 10 is the nominal top.")
    translate_pixels: float = _option(
        100.0, "Shift at magnitude 10, in pixels of the training image."
    )
    cutout_pixels: float = _option(
        40.0, "Half the side of cutout's square at magnitude 10, in pixels."
    )
    extra_cutout_pixels: int = _option(
        0, "Half the side of a square cut from every image. 0: none."
    )
    level_range: Literal["published", "clipped"] = _option(
        "published",
        "published: magnitudes above 10 leave the operations' nominal ranges, "
        "as they did in the paper's runs; clipped: they count as 10.",
    )
    contrast: Literal["published", "corrected"] = _option(
        "published",
        "published: blend with a constant that follows from the image's size; "
        "corrected: with the mean gray level.",
    )
    scaled_decoding: bool = _option(
        False,
        "Decode JPEGs at 1/2, 1/4 or 1/8 of their size where the crop stays "
        "larger than the result: faster for large photographs, not the "
        "published pixels.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "augmentation.*")
        for name in (
            "pad_pixels",
            "num_ops",
            "magnitude",
            "translate_pixels",
            "cutout_pixels",
            "extra_cutout_pixels",
        ):
            value = getattr(self, name)
            _check(value >= 0, f"augmentation.*.{name}", value, "0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """The image noise, separately for labeled and unlabeled images."""

    labeled: PolicyConfig = PolicyConfig()
    unlabeled: PolicyConfig = PolicyConfig()
    mixup_alpha: float = _option(
        0.0,
        "Mixup: images and labels of two images are blended, with a share "
        "drawn from Beta(alpha, alpha). 0: never.",
    )
    cutmix_alpha: float = _option(
        0.0,
        "CutMix: a box of another image is pasted, labels are blended by "
        "area; beside mixup, each image gets one of the two. 0: never.",
    )

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            value = getattr(self, name)
            _check(value >= 0, f"augmentation.{name}", value, "0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, schedule, weight decay and the average of the weights."""

    name: Literal["rmsprop", "sgd", "adamw", "lamb"] = _option(
        "rmsprop",
        "rmsprop (TensorFlow 1's arithmetic), sgd with momentum, or Keras' "
        "adamw or lamb.",
    )
    base_learning_rate: float = _option(
        0.016, "Peak rate per 256 labeled images of the global batch."
    )
    schedule: Literal["exponential", "cosine", "constant"] = _option(
        "exponential", "exponential decays in stairs, as published."
    )
    warmup_epochs: float = _option(5.0, "Linear warm-up from 0.")
    decay_rate: float = _option(0.97, "Factor of one stair.")
    decay_epochs: float = _option(2.4, "Length of one stair.")
    momentum: float = _option(0.9, "Momentum of rmsprop and sgd.")
    rms_decay: float = _option(0.9, "RMSProp's decay of the second moment.")
    epsilon: float = _option(1e-3, "RMSProp's epsilon, inside the root.")
    adam_beta_1: float = _option(0.9, "First decay of adamw and lamb.")
    adam_beta_2: float = _option(0.999, "Second decay of adamw and lamb.")
    adam_epsilon: float = _option(1e-6, "Epsilon of adamw and lamb.")
    weight_decay: float = _option(
        1e-5,
        "rmsprop, sgd: coupled L2, weight_decay * sum(v^2) / 2 in the loss; "
        "adamw, lamb: decoupled, each step takes learning rate * weight_decay "
        "* v off. Normalization is never decayed.",
    )
    ema_decay: float = _option(
        0.9999, "Average of all weights, ramped up as (1 + t) / (10 + t)."
    )
    global_clip_norm: float = _option(
        0.0, "Gradients are clipped to it after the all-reduce. 0: never."
    )

    def __post_init__(self) -> None:
        _check_choices(self, "optimizer")
        _check(
            self.base_learning_rate > 0,
            "optimizer.base_learning_rate",
            self.base_learning_rate,
            "a positive rate",
        )
        for name in ("warmup_epochs", "weight_decay", "global_clip_norm"):
            value = getattr(self, name)
            _check(value >= 0, f"optimizer.{name}", value, "0 or more")
        for name in (
            "momentum",
            "rms_decay",
            "ema_decay",
            "adam_beta_1",
            "adam_beta_2",
        ):
            value = getattr(self, name)
            _check(0 <= value < 1, f"optimizer.{name}", value, "in [0, 1)")
        for name in ("decay_rate", "decay_epochs", "epsilon", "adam_epsilon"):
            value = getattr(self, name)
            _check(value > 0, f"optimizer.{name}", value, "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropies of labeled and pseudo-labeled images."""

    label_smoothing: float = _option(
        0.1, "Of hard labels, true or pseudo; soft labels are left alone."
    )
    pseudo_labels: Literal["soft", "hard"] = _option(
        "soft", "The teacher's probabilities, or its class."
    )
    temperature: float = _option(
        1.0, "Soft labels are sharpened or flattened to p^(1/T), renormalized."
    )
    weighting: Literal["labeled", "all"] = _option(
        "labeled",
        "labeled: mean over labeled + ratio * mean over unlabeled, as "
        "published; all: the mean over the whole batch.",
    )
    labeled_mean: Literal["kept", "batch"] = _option(
        "kept",
        "What the labeled losses' sum is divided by where "
        "--training.labeled_keep_probability is below 1. kept: the images "
        "expected to be kept; batch: all, as published, which shrinks the "
        "labeled term.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "loss")
        _check(
            0 <= self.label_smoothing < 1,
            "loss.label_smoothing",
            self.label_smoothing,
            "in [0, 1)",
        )
        _check(
            self.temperature > 0,
            "loss.temperature",
            self.temperature,
            "a positive number",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, durations, and what is written while training."""

    labeled_batch_size: int = _option(
        2048, "Labeled images of the global batch."
    )
    unlabeled_ratio: float = _option(
        3.0, "Unlabeled images per labeled one in a student's batch."
    )
    labeled_keep_probability: float = _option(
        1.0,
        "Share of the labeled images whose loss counts, drawn at random: for "
        "labeled batches smaller than the number of replicas. Learning rate, "
        "epochs and unlabeled images follow the images kept.",
    )
    noise_unlabeled: bool = _option(
        True, "Dropout and stochastic depth for unlabeled images, too."
    )
    accumulation_steps: int = _option(
        1,
        "Parts of a batch whose gradients are summed before the update; each "
        "part is normalized by itself.",
    )
    teacher_epochs: float = _option(
        350.0, "Length of the teacher's training, in labeled epochs."
    )
    student_epochs: float = _option(
        350.0, "Length of each student's training, in labeled epochs."
    )
    steps_per_loop: int = _option(
        1000, "Steps between log lines, and in one call of the device."
    )
    evaluate_every_steps: int = _option(
        5000, "Steps between validations; rounded to whole loops."
    )
    checkpoint_every_steps: int = _option(
        5000, "Steps between checkpoints; rounded to whole loops."
    )
    keep_checkpoints: int = _option(
        3, "Newest checkpoints kept, beside the best on validation images."
    )
    final_weights: Literal["last", "best"] = _option(
        "last",
        "What a model ends with: its last step, or the checkpoint whose "
        "averages were best on validation images.",
    )
    max_rollbacks: int = _option(
        0,
        "How often a loss that is not finite sends a run back to its last "
        "checkpoint, to go on behind the batches since then. 0: it stops.",
    )
    evaluation_batch_size: int = _option(
        1024, "Global batch of evaluation and prediction."
    )
    shuffle_buffer_size: int = _option(
        16384, "Raw records held for shuffling, per stream (ImageNet: 2 GB)."
    )

    def __post_init__(self) -> None:
        _check_choices(self, "training")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "max_rollbacks":
                _check(value >= 0, f"training.{field.name}", value, ">= 0")
            elif not isinstance(value, bool | str):
                _check(value > 0, f"training.{field.name}", value, "positive")
        _check(
            self.labeled_keep_probability <= 1,
            "training.labeled_keep_probability",
            self.labeled_keep_probability,
            "in (0, 1]",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelingConfig:
    """Which images the teacher labels, and how."""

    ensemble: str = _option(
        "",
        "Directories of further trained models, separated by commas, whose "
        "probabilities are averaged with the teacher's.",
    )
    flip: bool = _option(
        False, "Average over each image and its mirror image, too."
    )
    calibrate: bool = _option(
        False,
        "Fit the temperature of the probabilities on the validation images.",
    )
    near_duplicate_bits: int = _option(
        4,
        "Unlabeled images are left out if their perceptual hash of 64 bits "
        "differs from a labeled or held-out image's in at most so many bits. "
        "-1: no search.",
    )
    near_duplicate_side: int = _option(
        64,
        "Shortest side in pixels that is hashed: a perceptual hash tells "
        "smaller pictures hardly apart.",
    )
    deduplicate: bool = _option(
        False, "Keep only one of several near-duplicate unlabeled images."
    )

    def __post_init__(self) -> None:
        _check(
            -1 <= self.near_duplicate_bits <= 8,
            "labeling.near_duplicate_bits",
            self.near_duplicate_bits,
            "-1 ... 8; beyond, unrelated pictures are found",
        )
        _check(
            self.near_duplicate_side >= 1,
            "labeling.near_duplicate_side",
            self.near_duplicate_side,
            "1 or more",
        )
        _check(
            not self.deduplicate or self.near_duplicate_bits >= 0,
            "labeling.deduplicate",
            self.deduplicate,
            "false where --labeling.near_duplicate_bits=-1",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which pseudo-labeled images the student learns from."""

    rule: Literal["exact", "published_histogram"] = _option(
        "exact",
        "exact: the most confident per class, every quota met; "
        "published_histogram: thresholds on a grid of 0.01 and random copies, "
        "as in the authors' code, for comparison.",
    )
    confidence_threshold: float = _option(
        0.3, "Images whose confidence is lower are left out."
    )
    images_per_class: int = _option(
        130_000,
        "Quota of each class: the most confident are kept, rare classes are "
        "repeated up to it. 0: the number of unlabeled images over the number "
        "of classes.",
    )
    balance: bool = _option(
        True, "Give each class its quota. Off: all above the threshold."
    )
    upsample: bool = _option(True, "Repeat images of rare classes.")
    max_copies: int = _option(0, "Most copies of one image. 0: no limit.")

    def __post_init__(self) -> None:
        _check_choices(self, "selection")
        is_published = self.rule == "published_histogram"
        _check(
            not is_published
            or (self.balance and self.upsample and not self.max_copies),
            "selection.rule",
            self.rule,
            "exact, where balance, upsample or max_copies is changed",
        )
        _check(
            0 <= self.confidence_threshold <= 1,
            "selection.confidence_threshold",
            self.confidence_threshold,
            "in [0, 1]",
        )
        for name in ("images_per_class", "max_copies"):
            value = getattr(self, name)
            _check(value >= 0, f"selection.{name}", value, "0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig:
    """The loop: how often, and from which teacher."""

    num_iterations: int = _option(
        3, "Students trained, each on its predecessor's pseudo-labels."
    )
    teacher_directory: str = _option(
        "", "A trained model to start from. Empty: train the teacher."
    )
    selection_teacher_directory: str = _option(
        "",
        "A trained model whose predictions select the images; the teachers "
        "only label what it selected (paper: an EfficientNet-B0). Empty: the "
        "teacher.",
    )
    keep_selection: bool = _option(
        False,
        "Select for the first student only; later teachers relabel the same "
        "images, as in the paper.",
    )
    initialize_students_from: Literal[
        "scratch", "initial_weights", "teacher"
    ] = _option(
        "scratch",
        "What students begin with: nothing, as published, "
        "--model.initial_weights, or their teacher's averages.",
    )
    teacher_name: str = _option(
        "", "The teacher's variant. Empty: --model.name."
    )
    teacher_width: float = _option(
        0.0, "The teacher's channel multiplier. 0: the students'."
    )
    teacher_depth: float = _option(
        0.0, "The teacher's repeat multiplier. 0: the students'."
    )
    teacher_resolution: int = _option(
        0, "Side of the teacher's images in pixels. 0: the students'."
    )
    online_teacher: bool = _option(
        False,
        "Teachers label clean twins of the selected images, at their own "
        "resolution, in the student's step; stored labels only select.",
    )
    noised_teacher: bool = _option(
        False,
        "Ablation of the paper, Table 6: teachers label noised images, with "
        "dropout and stochastic depth.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "self_training")
        _check(
            self.num_iterations >= 0,
            "self_training.num_iterations",
            self.num_iterations,
            "0 or more",
        )
        for name in ("teacher_width", "teacher_depth", "teacher_resolution"):
            value = getattr(self, name)
            _check(value >= 0, f"self_training.{name}", value, "0 or more")
        _check(
            not (self.online_teacher and self.noised_teacher),
            "self_training.noised_teacher",
            self.noised_teacher,
            "false beside --self_training.online_teacher, whose twins are "
            "clean",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixResConfig:
    """Fine-tuning at a higher resolution on clean labeled images."""

    resolution: int = _option(
        0, "Side of the fine-tuning images in pixels. 0: no fine-tuning."
    )
    epochs: float = _option(1.5, "Labeled epochs. Paper, Section 3.1: 1.5.")
    trainable: Literal["classifier_and_last_norm", "after_frozen_blocks"] = (
        _option(
            "classifier_and_last_norm",
            "What trains; which layers the paper freezes is unpublished.",
        )
    )
    frozen_blocks: int = _option(
        0, "Blocks frozen with the stem by --trainable=after_frozen_blocks."
    )
    base_learning_rate: float = _option(
        0.0,
        "Constant rate per 256 labeled images. 0: what the student's schedule "
        "ended with.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "fixres")
        for name in ("resolution", "frozen_blocks", "base_learning_rate"):
            value = getattr(self, name)
            _check(value >= 0, f"fixres.{name}", value, "0 or more")
        _check(self.epochs > 0, "fixres.epochs", self.epochs, "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of the finished models beside their accuracy."""

    robustness: bool = _option(
        False,
        "Measure all models on corrupted images, perturbed sequences and "
        "under attack, made of the held-out images.",
    )
    robustness_images: int = _option(
        0, "Held-out images that are corrupted, and attacked. 0: all."
    )
    robustness_sequences: int = _option(
        0, "Held-out images that become sequences. 0: all."
    )

    def __post_init__(self) -> None:
        for name in ("robustness_images", "robustness_sequences"):
            value = getattr(self, name)
            _check(value >= 0, f"evaluation.{name}", value, "0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and arithmetic."""

    strategy: Literal[
        "auto", "one_device", "mirrored", "multi_worker", "tpu"
    ] = _option(
        "auto",
        "auto: mirrored over several GPUs, else one device; multi_worker "
        "reads TF_CONFIG.",
    )
    num_devices: int = _option(
        0, "Devices of --runtime.strategy=mirrored. 0: all."
    )
    tpu_address: str = _option("local", "Name or address of the TPU.")
    precision: Literal["float32", "mixed_bfloat16"] = _option(
        "float32", "Arithmetic of the layers; weights stay float32."
    )
    deterministic: bool = _option(
        False, "Deterministic operations, for a whole run or not at all."
    )
    worker_timeout_seconds: float = _option(
        300.0, "How long the workers of TF_CONFIG are waited for at the start."
    )
    stall_seconds: float = _option(
        300.0, "Without a step for so long, the log says what it waits for."
    )
    cache_megabytes: int = _option(
        256, "Shard sets up to this size are held in memory for training."
    )
    cache_directory: str = _option(
        "",
        "Local folder that larger shard sets are copied to before training, "
        "for remote ones. Empty: they are read where they lie.",
    )
    host_sharding: Literal["rows", "files"] = _option(
        "rows",
        "rows: every host reads its part of each batch from all shards, and "
        "batches do not depend on the number of hosts; files: every host "
        "reads shards of its own.",
    )

    def __post_init__(self) -> None:
        _check_choices(self, "runtime")
        for name in ("worker_timeout_seconds", "stall_seconds"):
            value = getattr(self, name)
            _check(value > 0, f"runtime.{name}", value, "positive")
        _check(
            self.cache_megabytes >= 0,
            "runtime.cache_megabytes",
            self.cache_megabytes,
            "0 or more",
        )
        _check(
            self.num_devices >= 0,
            "runtime.num_devices",
            self.num_devices,
            "0 or more",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All of a run."""

    preset: str = _option("", "The preset that this configuration started as.")
    seed: int = _option(0, "Seed of every random draw.")
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
        _check(
            0 <= self.seed < 2**31, "seed", self.seed, "an integer in [0, 2^31)"
        )
        training = self.training
        ratio = training.unlabeled_ratio
        kept = training.labeled_batch_size * training.labeled_keep_probability
        _check(
            round(kept * ratio) >= 1,
            "training.unlabeled_ratio",
            ratio,
            "a ratio that gives at least one unlabeled image a batch",
        )
