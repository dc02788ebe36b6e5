"""The study's configurations, as data.

An arm is a configuration that runs with several seeds. What all arms have in
common is the preset and `COMMON`. See `studies` for what is made of them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, presets

PRESET = "fashion_mnist"

# Pixels of the training images; an eighth of it is what noise may shift.
_RESOLUTION = 28
_SHIFT = _RESOLUTION / 8

# The images, networks, budget and measurements of all arms; `docs/study.md`
# says why.
COMMON: Mapping[str, Any] = {
    # Ten classes: 100 labels.
    "data.labeled_per_class": 10,
    "model.resolution": _RESOLUTION,
    "model.width": 0.5,
    "model.depth": 0.25,
    # The paper's noise: of all that was tried it helps a student most.
    "model.dropout_rate": 0.5,
    "model.stochastic_depth_rate": 0.2,
    "self_training.teacher_width": 0.35,
    "self_training.teacher_depth": 0.25,
    **{
        f"augmentation.{half}.{field}": value
        for half in ("labeled", "unlabeled")
        for field, value in (
            ("pad_pixels", int(_SHIFT)),
            ("translate_pixels", _SHIFT),
            ("cutout_pixels", _SHIFT),
        )
    },
    # 1,000 steps: of 16 labeled images, and for a student 80 unlabeled ones.
    "training.teacher_epochs": 160.0,
    "training.student_epochs": 160.0,
    "selection.confidence_threshold": 0.8,
    "training.evaluation_batch_size": 256,
    "training.evaluate_every_steps": 500,
    "training.checkpoint_every_steps": 500,
    "training.keep_checkpoints": 1,
    "self_training.num_iterations": 1,
    "fixres.resolution": 0,
    "evaluation.robustness": False,
    "evaluation.robustness_images": 150,
    "evaluation.robustness_sequences": 40,
}

MAIN, BASELINE = "noisy_student", "supervised"

Kind = Literal["loop", "self_training_classifier", "fixmatch"]
Images = Literal["all", "long_tail", "unsure"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One configuration.

    Attributes:
        name: Of its folder.
        title: What a table calls it.
        changes: Dotted field -> value, over the preset and `COMMON`. In
            values, {workdir} stands for the study's folder and {seed} for the
            seed.
        needs: Arms whose folders must be there before it begins; most share
            images and teacher of the main one.
        kind: `loop` runs Noisy Student Training; the others are scikit-learn's
            self-training, and FixMatch from semilearn, on the shards of the
            first arm it needs.
        images: Which of the unlabeled images of the first arm it needs are
            its own; see `unlabeled_parts`.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = (MAIN,)
    kind: Kind = "loop"
    images: Images = "all"


# A teacher of the student's size.
_AS_LARGE: Mapping[str, Any] = {
    "self_training.teacher_width": 0.0,
    "self_training.teacher_depth": 0.0,
}
_SUPERVISED_CHANGES = {"self_training.num_iterations": 0, **_AS_LARGE}
# Where the runner puts an arm's own images; no arm's folder.
PART_OF_IMAGES = "{workdir}/{images}_images/seed_{seed}"


def _part(images: Images) -> Mapping[str, Any]:
    directory = PART_OF_IMAGES.replace("{images}", images)
    return {"data.unlabeled": f"{directory}/*.tfrecord"}


# As in the paper, nothing but the labels differs: no threshold, no quotas.
_UNSURE: Mapping[str, Any] = {
    **_part("unsure"),
    "selection.confidence_threshold": 0.0,
    "selection.balance": False,
}


ARMS: tuple[Arm, ...] = (
    Arm(
        BASELINE,
        "supervised, as large as a student, as noised, for as many steps",
        {**_SUPERVISED_CHANGES, "evaluation.robustness": True},
        needs=(),
    ),
    Arm(
        MAIN,
        "Noisy Student",
        {"self_training.num_iterations": 3, "evaluation.robustness": True},
        needs=(),
    ),
    # Table 6: noise is removed on unlabeled images only.
    Arm(
        "no_augmentation",
        "no RandAugment on unlabeled images",
        {"augmentation.unlabeled.policy": "none"},
    ),
    Arm(
        "no_noise",
        "no RandAugment, dropout or stochastic depth on unlabeled images",
        {
            "augmentation.unlabeled.policy": "none",
            "training.noise_unlabeled": False,
        },
    ),
    Arm(
        "noised_teacher",
        "teacher labels with RandAugment, dropout and stochastic depth",
        {"self_training.noised_teacher": True},
    ),
    Arm(
        "ratio_1",
        "1 unlabeled image per labeled one",
        {"training.unlabeled_ratio": 1.0},
    ),
    Arm(
        "hard", "hard labels, confident images", {"loss.pseudo_labels": "hard"}
    ),
    Arm(
        "soft_unsure",
        "soft labels, unsure images alone",
        _UNSURE,
        images="unsure",
    ),
    Arm(
        "hard_unsure",
        "hard labels, unsure images alone",
        {**_UNSURE, "loss.pseudo_labels": "hard"},
        images="unsure",
    ),
    Arm(
        "long_tail",
        "unlabeled images of a long tail, balanced",
        _part("long_tail"),
        images="long_tail",
    ),
    Arm(
        "long_tail_unbalanced",
        "unlabeled images of a long tail, as they are",
        {**_part("long_tail"), "selection.balance": False},
        images="long_tail",
    ),
    Arm(
        "quarter_of_unlabeled",
        "a quarter of the unlabeled images",
        {
            "data.unlabeled": "{workdir}/noisy_student/seed_{seed}/unlabeled/"
            "unlabeled-0000[01]-of-00008.tfrecord"
        },
    ),
    Arm(
        "small_student", "student of the teacher's size", {"model.width": 0.35}
    ),
    Arm(
        "large_teacher",
        "teacher of the student's size",
        _AS_LARGE,
        needs=(BASELINE,),
    ),
    Arm(
        "warm_start",
        "student begins with its teacher's weights",
        {**_AS_LARGE, "self_training.initialize_students_from": "teacher"},
        needs=(BASELINE,),
    ),
    Arm(
        "pretrained",
        "trained on pseudo-labels alone",
        {"loss.weighting": "pseudo_labels"},
    ),
    Arm(
        "fine_tuned",
        "trained on pseudo-labels, then on labels",
        {
            **_SUPERVISED_CHANGES,
            "model.initial_weights": "{workdir}/pretrained/seed_{seed}/"
            "student_1",
            # Half as long as the pre-training, at a tenth of its rate.
            "training.teacher_epochs": 80.0,
            "optimizer.base_learning_rate": 0.08,
        },
        needs=("pretrained",),
    ),
    Arm(
        "fixres",
        "fine-tuned at 36 pixels, without noise",
        {
            "fixres.resolution": 36,
            "fixres.epochs": 16.0,
            "fixres.trainable": "after_frozen_blocks",
            "fixres.frozen_blocks": 1,
            "fixres.base_learning_rate": 0.08,
        },
    ),
    Arm(
        "plain_pseudo_labels",
        "pseudo-labeling without noise: hard labels, crops and flips alone",
        {
            "augmentation.labeled.policy": "none",
            "augmentation.unlabeled.policy": "none",
            "model.dropout_rate": 0.0,
            "model.stochastic_depth_rate": 0.0,
            "loss.pseudo_labels": "hard",
        },
    ),
    Arm(
        "self_training_classifier",
        "scikit-learn's SelfTrainingClassifier, logistic regression on "
        "principal components",
        kind="self_training_classifier",
    ),
    Arm(
        "fixmatch",
        "FixMatch from semilearn, the same network and steps",
        kind="fixmatch",
    ),
)


def arm(name: str) -> Arm:
    """Return an arm."""
    return next(each for each in ARMS if each.name == name)


def resolve(arm: Arm, *, seed: int, workdir: str) -> configs.Config:
    """Return the configuration of one run.

    Args:
        arm: The arm.
        seed: Of all its random draws.
        workdir: The study's folder, for arms that read another's.

    Raises:
        ValueError: A field does not exist, or a value is not accepted.
    """
    changes = {
        name: value.format(workdir=workdir, seed=seed)
        if isinstance(value, str)
        else value
        for name, value in {**COMMON, **arm.changes}.items()
    }
    return config_tree.override(
        presets.preset(PRESET), {**changes, "seed": seed}
    )
