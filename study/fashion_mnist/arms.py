"""The configurations of the study on Fashion-MNIST."""

from collections.abc import Mapping
from typing import Any

from study import experiments
from study.fashion_mnist import unlabeled_parts

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

# A teacher of the student's size.
_AS_LARGE: Mapping[str, Any] = {
    "self_training.teacher_width": 0.0,
    "self_training.teacher_depth": 0.0,
}
_SUPERVISED_CHANGES = {"self_training.num_iterations": 0, **_AS_LARGE}


def _part(images: str) -> Mapping[str, Any]:
    directory = experiments.PART_OF_IMAGES.replace("{images}", images)
    return {"data.unlabeled": f"{directory}/*.tfrecord"}


# As in the paper, nothing but the labels differs: no threshold, no quotas.
_UNSURE: Mapping[str, Any] = {
    **_part("unsure"),
    "selection.confidence_threshold": 0.0,
    "selection.balance": False,
}


_SUPERVISED = "supervised, as large as a student, as noised, for as many steps"


def _arm(
    name: str,
    title: str,
    changes: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (MAIN,),
    **kind: Any,
) -> experiments.Arm:
    """Return an arm; most share images and teacher of the main one."""
    return experiments.Arm(name, title, changes or {}, needs, **kind)


ARMS: tuple[experiments.Arm, ...] = (
    _arm(
        BASELINE,
        _SUPERVISED,
        {**_SUPERVISED_CHANGES, "evaluation.robustness": True},
        needs=(),
        titles={"teacher": _SUPERVISED},
    ),
    _arm(
        MAIN,
        "Noisy Student",
        {"self_training.num_iterations": 3, "evaluation.robustness": True},
        needs=(),
    ),
    # Table 6: noise is removed on unlabeled images only.
    _arm(
        "no_augmentation",
        "no RandAugment on unlabeled images",
        {"augmentation.unlabeled.policy": "none"},
    ),
    _arm(
        "no_noise",
        "no RandAugment, dropout or stochastic depth on unlabeled images",
        {
            "augmentation.unlabeled.policy": "none",
            "training.noise_unlabeled": False,
        },
    ),
    _arm(
        "noised_teacher",
        "teacher labels with RandAugment, dropout and stochastic depth",
        {"self_training.noised_teacher": True},
    ),
    _arm(
        "ratio_1",
        "1 unlabeled image per labeled one",
        {"training.unlabeled_ratio": 1.0},
    ),
    _arm(
        "hard", "hard labels, confident images", {"loss.pseudo_labels": "hard"}
    ),
    _arm(
        "soft_unsure",
        "soft labels, unsure images alone",
        _UNSURE,
        images="unsure",
    ),
    _arm(
        "hard_unsure",
        "hard labels, unsure images alone",
        {**_UNSURE, "loss.pseudo_labels": "hard"},
        images="unsure",
    ),
    _arm(
        "long_tail",
        "unlabeled images of a long tail, balanced",
        _part("long_tail"),
        images="long_tail",
    ),
    _arm(
        "long_tail_unbalanced",
        "unlabeled images of a long tail, as they are",
        {**_part("long_tail"), "selection.balance": False},
        images="long_tail",
    ),
    _arm(
        "quarter_of_unlabeled",
        "a quarter of the unlabeled images",
        {
            "data.unlabeled": "{workdir}/noisy_student/seed_{seed}/unlabeled/"
            "unlabeled-0000[01]-of-00008.tfrecord"
        },
    ),
    _arm(
        "small_student", "student of the teacher's size", {"model.width": 0.35}
    ),
    _arm(
        "large_teacher",
        "teacher of the student's size",
        _AS_LARGE,
        needs=(BASELINE,),
    ),
    _arm(
        "warm_start",
        "student begins with its teacher's weights",
        {**_AS_LARGE, "self_training.initialize_students_from": "teacher"},
        needs=(BASELINE,),
    ),
    _arm(
        "pretrained",
        "trained on pseudo-labels alone",
        {"loss.weighting": "pseudo_labels"},
    ),
    _arm(
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
    _arm(
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
    _arm(
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
    _arm(
        "self_training_classifier",
        "scikit-learn's SelfTrainingClassifier, logistic regression on "
        "principal components",
        kind="self_training_classifier",
    ),
    _arm(
        "fixmatch",
        "FixMatch from semilearn, the same network and steps",
        kind="fixmatch",
    ),
)

EXPERIMENT = experiments.Experiment(
    name="fashion_mnist",
    preset="fashion_mnist",
    common=COMMON,
    arms=ARMS,
    num_images=60_000,
    document="docs/study.md",
    parts={
        "long_tail": unlabeled_parts.write_long_tail,
        "unsure": unlabeled_parts.write_unsure,
    },
)
