"""Settings of a run: the loop, what is measured, and the machine."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelingConfig:
    """Which images the teacher labels, and how."""

    ensemble: str = options.option(
        "",
        "Directories of further trained models, separated by commas, whose "
        "probabilities are averaged with the teacher's.",
    )
    flip: bool = options.option(
        False, "Average over each image and its mirror image, too."
    )
    calibrate: bool = options.option(
        False,
        "Fit the temperature of the probabilities on the validation images.",
    )
    near_duplicate_bits: int = options.option(
        4,
        "Unlabeled images are left out if their perceptual hash of 64 bits "
        "differs from a labeled or held-out image's in at most so many bits. "
        "-1: no search.",
        accepts=(
            "-1 ... 8; beyond, unrelated pictures are found",
            lambda value: -1 <= value <= 8,
        ),
    )
    near_duplicate_side: int = options.positive(
        64,
        "Shortest side in pixels that is hashed: a perceptual hash tells "
        "smaller pictures hardly apart.",
    )
    deduplicate: bool = options.option(
        False, "Keep only one of several near-duplicate unlabeled images."
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "labeling.")
        options.check(
            not self.deduplicate or self.near_duplicate_bits >= 0,
            "labeling.deduplicate",
            self.deduplicate,
            "false where --labeling.near_duplicate_bits=-1",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which pseudo-labeled images the student learns from."""

    rule: Literal["exact", "published_histogram"] = options.option(
        "exact",
        "exact: the most confident per class, every quota met; "
        "published_histogram: thresholds on a grid of 0.01 and random copies, "
        "as in the authors' code, for comparison.",
    )
    confidence_threshold: float = options.share(
        0.3, "Images whose confidence is lower are left out."
    )
    images_per_class: int = options.option(
        130_000,
        "Quota of each class: the most confident are kept, rare classes are "
        "repeated up to it. 0: the number of unlabeled images over the number "
        "of classes.",
    )
    balance: bool = options.option(
        True, "Give each class its quota. Off: all above the threshold."
    )
    upsample: bool = options.option(True, "Repeat images of rare classes.")
    max_copies: int = options.option(
        0, "Most copies of one image. 0: no limit."
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "selection.")
        is_published = self.rule == "published_histogram"
        options.check(
            not is_published
            or (self.balance and self.upsample and not self.max_copies),
            "selection.rule",
            self.rule,
            "exact, where balance, upsample or max_copies is changed",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig:
    """The loop: how often, and from which teacher."""

    num_iterations: int = options.option(
        3, "Students trained, each on its predecessor's pseudo-labels."
    )
    teacher_directory: str = options.option(
        "", "A trained model to start from. Empty: train the teacher."
    )
    teacher_predictions: str = options.option(
        "",
        "A Parquet of probabilities by image (or a pattern of some), from any "
        "model: they label for the first student in the place of a teacher.",
    )
    teacher_predictions_temperature: float = options.positive(
        1.0,
        "Of --self_training.teacher_predictions: p^(1 / temperature), "
        "renormalized, is what labels. Below 1: more sure.",
    )
    selection_teacher_directory: str = options.option(
        "",
        "A trained model whose predictions select the images; the teachers "
        "only label what it selected (paper: B0). Empty: the teacher.",
    )
    keep_selection: bool = options.option(
        False,
        "Select for the first student only; later teachers relabel the same "
        "images, as in the paper.",
    )
    initialize_students_from: Literal[
        "scratch", "initial_weights", "teacher"
    ] = options.option(
        "scratch",
        "What students begin with: nothing, as published, "
        "--model.initial_weights, or their teacher's averages.",
    )
    teacher_name: str = options.option(
        "", "The teacher's variant. Empty: --model.name."
    )
    teacher_width: float = options.option(
        0.0, "The teacher's channel multiplier. 0: the students'."
    )
    teacher_depth: float = options.option(
        0.0, "The teacher's repeat multiplier. 0: the students'."
    )
    teacher_resolution: int = options.option(
        0, "Side of the teacher's images in pixels. 0: the students'."
    )
    allow_weak_teacher: bool = options.option(
        False,
        "Let a teacher label that is not significantly better than naming one "
        "class for every image.",
        affects="nothing",
    )
    online_teacher: bool = options.option(
        False,
        "Teachers label clean twins of the selected images, at their own "
        "resolution, in the student's step; stored labels only select.",
    )
    noised_teacher: bool = options.option(
        False,
        "Ablation of the paper, Table 6: teachers label noised images, with "
        "dropout and stochastic depth.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "self_training.")
        options.check(
            not (self.online_teacher and self.noised_teacher),
            "self_training.noised_teacher",
            self.noised_teacher,
            "false beside --self_training.online_teacher, whose twins are "
            "clean",
        )
        options.check(
            bool(self.teacher_predictions)
            or self.teacher_predictions_temperature == 1,
            "self_training.teacher_predictions_temperature",
            self.teacher_predictions_temperature,
            "1 without --self_training.teacher_predictions",
        )
        if self.teacher_predictions:
            self._check_predictions()

    def _check_predictions(self) -> None:
        """Check that nothing asks for the network that is not there."""
        beside = (
            "beside --self_training.teacher_predictions="
            f"{self.teacher_predictions}"
        )
        for name, has_network in (
            ("teacher_directory", bool(self.teacher_directory)),
            (
                "selection_teacher_directory",
                bool(self.selection_teacher_directory),
            ),
            ("online_teacher", self.online_teacher),
            ("noised_teacher", self.noised_teacher),
            (
                "initialize_students_from",
                self.initialize_students_from == "teacher",
            ),
        ):
            options.check(
                not has_network,
                f"self_training.{name}",
                getattr(self, name),
                f"no such thing {beside}, which is no network",
            )
        options.check(
            self.num_iterations >= 1,
            "self_training.num_iterations",
            self.num_iterations,
            f"1 or more {beside}: it teaches, and is no model to export",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixResConfig:
    """Fine-tuning at a higher resolution on clean labeled images."""

    resolution: int = options.option(
        0, "Side of the fine-tuning images in pixels. 0: no fine-tuning."
    )
    epochs: float = options.positive(
        1.5, "Labeled epochs. Paper, Section 3.1: 1.5."
    )
    trainable: Literal["classifier_and_last_norm", "after_frozen_blocks"] = (
        options.option(
            "classifier_and_last_norm",
            "What trains; which layers the paper freezes is unpublished.",
        )
    )
    frozen_blocks: int = options.option(
        0, "Blocks frozen with the stem by --trainable=after_frozen_blocks."
    )
    base_learning_rate: float = options.option(
        0.0, "Constant rate per 256 labeled images. 0: the student's last."
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "fixres.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of the finished models beside their accuracy."""

    robustness: bool = options.option(
        False,
        "Measure all models on corrupted images, perturbed sequences and "
        "under attack, made of the held-out images.",
        affects="nothing",
    )
    robustness_images: int = options.option(
        0, "Held-out images that are corrupted, and attacked. 0: all."
    )
    robustness_sequences: int = options.option(
        0, "Held-out images that become sequences. 0: all."
    )
    supervised_baseline: bool = options.option(
        False,
        "Train the last student once more on labeled images alone, with the "
        "same noise, first weights and number of steps, and compare with it.",
        affects="nothing",
    )
    teacher_folds: int = options.option(
        0,
        "Folds of the labeled images that as many teachers, each trained "
        "without one, are judged on: where validation images are few. 0: none.",
        accepts=("0, or 2 or more", lambda value: value == 0 or value >= 2),
        affects="nothing",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "evaluation.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and arithmetic."""

    strategy: Literal[
        "auto", "one_device", "mirrored", "multi_worker", "tpu"
    ] = options.option(
        "auto",
        "auto: mirrored over several GPUs, else one device; multi_worker "
        "reads TF_CONFIG.",
        affects="rounding",
    )
    num_devices: int = options.option(
        0, "Devices of --runtime.strategy=mirrored. 0: all.", affects="rounding"
    )
    tpu_address: str = options.option(
        "local", "Name or address of the TPU.", affects="rounding"
    )
    precision: Literal["float32", "mixed_bfloat16"] = options.option(
        "float32", "Arithmetic of the layers; weights stay float32."
    )
    deterministic: bool = options.option(
        False, "Deterministic operations, for a whole run or not at all."
    )
    worker_timeout_seconds: float = options.positive(
        300.0,
        "How long the workers of TF_CONFIG are waited for at the start.",
        affects="nothing",
    )
    stall_seconds: float = options.positive(
        300.0,
        "Without a step for so long, the log says what it waits for.",
        affects="nothing",
    )
    cache_megabytes: int = options.option(
        256,
        "Shard sets up to this size are held in memory for training.",
        affects="nothing",
    )
    cache_directory: str = options.option(
        "",
        "Local folder that larger shard sets are copied to before training, "
        "for remote ones. Empty: they are read where they lie.",
        affects="nothing",
    )
    host_sharding: Literal["rows", "files"] = options.option(
        "rows",
        "rows: every host reads its part of each batch from all shards, and "
        "batches do not depend on the number of hosts; files: every host "
        "reads shards of its own.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "runtime.")
