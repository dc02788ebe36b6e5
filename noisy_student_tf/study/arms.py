"""The study as data: its configurations, its tables, and what they claim.

An arm is a configuration that runs with every seed. A study is a table over
some arms, with the paper's directions that it can confirm or refute. What all
arms have in common is the preset and `COMMON`.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Literal

from noisy_student_tf import config as configuration
from noisy_student_tf import config_tree, presets

PRESET = "fashion_mnist"
# Of the main table, and of all others.
MAIN_SEEDS = (0, 1, 2, 3, 4, 5)
ABLATION_SEEDS = (2, 3)

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
# Of the attack that decides, in pixels of [0, 255].
FGSM_EPSILON_PIXELS = 4.0

Kind = Literal["loop", "self_training_classifier", "fixmatch"]
Images = Literal["all", "long_tail", "unsure"]
Measure = Literal["accuracy", "mce", "mfr", "fgsm", "pgd"]
# Of these, less is better.
ERRORS = ("mce", "mfr")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration.

    Attributes:
        name: Of its folder.
        title: What a table calls it.
        changes: Dotted field -> value, over the preset and `COMMON`. In
            values, {workdir} stands for the study's folder and {seed} for the
            seed.
        needs: Arms whose folders must be there before it begins.
        kind: `loop` runs Noisy Student Training; the others are scikit-learn's
            self-training, and FixMatch from semilearn, on the shards of the
            first arm it needs.
        images: Which of the unlabeled images of the first arm it needs are
            its own; see `unlabeled_parts`.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    kind: Kind = "loop"
    images: Images = "all"


@dataclasses.dataclass(frozen=True, order=True)
class Subject:
    """One model of an arm, as `results.json` names it."""

    arm: str
    model: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A direction that the paper found.

    Attributes:
        text: What is better than what.
        source: Where the paper says so, with its numbers.
        better: The model that is better if the paper is right here too.
        worse: The other.
        measure: What decides.
    """

    text: str
    source: str
    better: Subject
    worse: Subject
    measure: Measure = "accuracy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A table.

    Attributes:
        name: Of the table, and of `--name`.
        title: Its heading.
        question: What it answers.
        arms: Names of the arms, in the order in which they run.
        lines: What the table shows.
        claims: The paper's directions.
        seeds: With which it runs.
    """

    name: str
    title: str
    question: str
    arms: tuple[str, ...]
    lines: tuple[Subject, ...]
    claims: tuple[Claim, ...] = ()
    seeds: tuple[int, ...] = ABLATION_SEEDS


# A net of the student's size, trained for as many steps.
_SUPERVISED_CHANGES: Mapping[str, Any] = {
    "self_training.num_iterations": 0,
    "self_training.teacher_width": 0.0,
    "self_training.teacher_depth": 0.0,
}
_PLAIN_IMAGES = {
    f"augmentation.{half}.{field}": value
    for half in ("labeled", "unlabeled")
    for field, value in (("policy", "none"),)
}
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
_MAIN, _BASELINE = "noisy_student", "supervised"


def _arm(name: str, title: str, changes: Mapping[str, Any], *needs: str) -> Arm:
    return Arm(name=name, title=title, changes=changes, needs=needs)


ARMS: tuple[Arm, ...] = (
    _arm(
        _BASELINE,
        "supervised, as large as a student, as noised, for as many steps",
        {**_SUPERVISED_CHANGES, "evaluation.robustness": True},
    ),
    _arm(
        _MAIN,
        "Noisy Student",
        {"self_training.num_iterations": 3, "evaluation.robustness": True},
    ),
    # Table 6: noise is removed on unlabeled images only.
    _arm(
        "no_augmentation",
        "no RandAugment on unlabeled images",
        {"augmentation.unlabeled.policy": "none"},
        _MAIN,
    ),
    _arm(
        "no_noise",
        "no RandAugment, dropout or stochastic depth on unlabeled images",
        {
            "augmentation.unlabeled.policy": "none",
            "training.noise_unlabeled": False,
        },
        _MAIN,
    ),
    _arm(
        "noised_teacher",
        "teacher labels with RandAugment, dropout and stochastic depth",
        {"self_training.noised_teacher": True},
        _MAIN,
    ),
    _arm(
        "ratio_1",
        "1 unlabeled image per labeled one",
        {"training.unlabeled_ratio": 1.0},
        _MAIN,
    ),
    _arm(
        "hard",
        "hard labels, confident images",
        {"loss.pseudo_labels": "hard"},
        _MAIN,
    ),
    Arm(
        name="soft_unsure",
        title="soft labels, unsure images alone",
        changes=_UNSURE,
        needs=(_MAIN,),
        images="unsure",
    ),
    Arm(
        name="hard_unsure",
        title="hard labels, unsure images alone",
        changes={**_UNSURE, "loss.pseudo_labels": "hard"},
        needs=(_MAIN,),
        images="unsure",
    ),
    Arm(
        name="long_tail",
        title="unlabeled images of a long tail, balanced",
        changes=_part("long_tail"),
        needs=(_MAIN,),
        images="long_tail",
    ),
    Arm(
        name="long_tail_unbalanced",
        title="unlabeled images of a long tail, as they are",
        changes={**_part("long_tail"), "selection.balance": False},
        needs=(_MAIN,),
        images="long_tail",
    ),
    _arm(
        "quarter_of_unlabeled",
        "a quarter of the unlabeled images",
        {
            "data.unlabeled": "{workdir}/noisy_student/seed_{seed}/unlabeled/"
            "unlabeled-0000[01]-of-00008.tfrecord"
        },
        _MAIN,
    ),
    _arm(
        "small_student",
        "student of the teacher's size",
        {"model.width": 0.35},
        _MAIN,
    ),
    _arm(
        "large_teacher",
        "teacher of the student's size",
        {
            "self_training.teacher_width": 0.0,
            "self_training.teacher_depth": 0.0,
        },
        _BASELINE,
    ),
    _arm(
        "warm_start",
        "student begins with its teacher's weights",
        {
            "self_training.teacher_width": 0.0,
            "self_training.teacher_depth": 0.0,
            "self_training.initialize_students_from": "teacher",
        },
        _BASELINE,
    ),
    _arm(
        "pretrained",
        "trained on pseudo-labels alone",
        {"loss.weighting": "pseudo_labels"},
        _MAIN,
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
        "pretrained",
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
        _MAIN,
    ),
    _arm(
        "plain_pseudo_labels",
        "pseudo-labeling without noise: hard labels, crops and flips alone",
        {
            **_PLAIN_IMAGES,
            "model.dropout_rate": 0.0,
            "model.stochastic_depth_rate": 0.0,
            "loss.pseudo_labels": "hard",
        },
        _MAIN,
    ),
    Arm(
        name="self_training_classifier",
        title="scikit-learn's SelfTrainingClassifier, logistic regression on "
        "principal components",
        needs=(_MAIN,),
        kind="self_training_classifier",
    ),
    Arm(
        name="fixmatch",
        title="FixMatch from semilearn, the same network and steps",
        needs=(_MAIN,),
        kind="fixmatch",
    ),
)

_SUPERVISED = Subject(_BASELINE, "teacher")
_TEACHER = Subject(_MAIN, "teacher")
_FIRST = Subject(_MAIN, "student_1")
_SECOND = Subject(_MAIN, "student_2")
_LAST = Subject(_MAIN, "student_3")
_ABLATIONS = "appendix A.2"


def _student(arm: str) -> Subject:
    return Subject(arm, "student_1")


STUDIES: tuple[Study, ...] = (
    Study(
        name="main",
        title="Baseline and iterations",
        question="Does the last student beat a net of its size that was "
        "trained no shorter, with the same noise, on the labels alone?",
        arms=(_BASELINE, _MAIN),
        seeds=MAIN_SEEDS,
        lines=(_SUPERVISED, _TEACHER, _FIRST, _SECOND, _LAST),
        claims=(
            Claim(
                text="the last student beats the supervised baseline",
                source="Table 2: 88.4 against 85.5",
                better=_LAST,
                worse=_SUPERVISED,
            ),
            Claim(
                text="a first student beats the supervised baseline",
                source="Figure 2: +0.8 to +1.4 for B0 to B7",
                better=_FIRST,
                worse=_SUPERVISED,
            ),
            Claim(
                text="iterating helps: the third student beats the first",
                source="Table 7: 87.6, 88.1, 88.4",
                better=_LAST,
                worse=_FIRST,
            ),
            Claim(
                text="the student's mCE is lower",
                source="Table 4: 28.3 against 42.5",
                better=_LAST,
                worse=_SUPERVISED,
                measure="mce",
            ),
            Claim(
                text="the student's mFR is lower",
                source="Table 5: 12.2 against 23.7",
                better=_LAST,
                worse=_SUPERVISED,
                measure="mfr",
            ),
            Claim(
                text=f"the student is better under FGSM of "
                f"{FGSM_EPSILON_PIXELS:g} pixels",
                source="Figure 4: 77.8 against 64.6",
                better=_LAST,
                worse=_SUPERVISED,
                measure="fgsm",
            ),
            Claim(
                text="the student is better under PGD of 16 pixels",
                source="Section 4.2: 4.4 against 1.1",
                better=_LAST,
                worse=_SUPERVISED,
                measure="pgd",
            ),
        ),
    ),
    Study(
        name="noise",
        title="Noise",
        question="What does noise on unlabeled images, and its absence in the "
        "teacher, contribute?",
        arms=("no_augmentation", "no_noise", "noised_teacher"),
        lines=(
            _SUPERVISED,
            _FIRST,
            _student("no_augmentation"),
            _student("no_noise"),
            _student("noised_teacher"),
        ),
        claims=(
            Claim(
                text="RandAugment on unlabeled images helps",
                source="Table 6: 85.1 against 84.6",
                better=_FIRST,
                worse=_student("no_augmentation"),
            ),
            Claim(
                text="dropout and stochastic depth on unlabeled images help",
                source="Table 6: 84.6 against 84.3",
                better=_student("no_augmentation"),
                worse=_student("no_noise"),
            ),
            Claim(
                text="all noise together helps",
                source="Table 6: 85.1 against 84.3",
                better=_FIRST,
                worse=_student("no_noise"),
            ),
            Claim(
                text="a clean teacher is better than a noised one",
                source="Table 6: 85.1 against 84.4",
                better=_FIRST,
                worse=_student("noised_teacher"),
            ),
        ),
    ),
    Study(
        name="ratio",
        title="Unlabeled images per labeled one",
        question="Does a larger share of unlabeled images in the batch help?",
        arms=("ratio_1",),
        lines=(_student("ratio_1"), _FIRST),
        claims=(
            Claim(
                text="a larger ratio is better",
                source=f"{_ABLATIONS}, study 7: L2 86.7 at 1:1, 87.4 at 3:1",
                better=_FIRST,
                worse=_student("ratio_1"),
            ),
        ),
    ),
    Study(
        name="labels",
        title="Hard and soft labels",
        question="Do soft labels help, where the teacher is sure and where it "
        "is not?",
        arms=("hard", "soft_unsure", "hard_unsure"),
        lines=(
            _SUPERVISED,
            _FIRST,
            _student("hard"),
            _student("soft_unsure"),
            _student("hard_unsure"),
        ),
        claims=(
            Claim(
                text="hard labels help, too, where the teacher is sure",
                source=f"{_ABLATIONS}, study 3, a figure",
                better=_student("hard"),
                worse=_SUPERVISED,
            ),
            Claim(
                text="soft labels are better where the teacher is not sure",
                source=f"{_ABLATIONS}, study 3, a figure",
                better=_student("soft_unsure"),
                worse=_student("hard_unsure"),
            ),
        ),
    ),
    Study(
        name="balance",
        title="Balancing",
        question="Does giving each class its quota help, where the unlabeled "
        "images are not balanced?",
        arms=("long_tail", "long_tail_unbalanced"),
        lines=(_student("long_tail"), _student("long_tail_unbalanced")),
        claims=(
            Claim(
                text="balancing helps",
                source=f"{_ABLATIONS}, study 5: B0 77.9 against 77.6",
                better=_student("long_tail"),
                worse=_student("long_tail_unbalanced"),
            ),
        ),
    ),
    Study(
        name="amount",
        title="Amount of unlabeled data",
        question="Does more unlabeled data help?",
        arms=("quarter_of_unlabeled",),
        lines=(_FIRST, _student("quarter_of_unlabeled")),
        claims=(
            Claim(
                text="more unlabeled images are better",
                source=f"{_ABLATIONS}, study 2: 84.0 against 83.8",
                better=_FIRST,
                worse=_student("quarter_of_unlabeled"),
            ),
        ),
    ),
    Study(
        name="student_capacity",
        title="Student capacity",
        question="Is a student larger than its teacher better?",
        arms=("small_student",),
        lines=(_TEACHER, _student("small_student"), _FIRST),
        claims=(
            Claim(
                text="a larger student is better",
                source=f"{_ABLATIONS}, study 4: B1 79.5 against B0 77.9",
                better=_FIRST,
                worse=_student("small_student"),
            ),
        ),
    ),
    Study(
        name="teacher_capacity",
        title="Teacher capacity",
        question="Is the student of a larger teacher better?",
        arms=("large_teacher",),
        lines=(_TEACHER, _FIRST, _SUPERVISED, _student("large_teacher")),
        claims=(
            Claim(
                text="a larger teacher is better",
                source=f"{_ABLATIONS}, study 1: B0 78.8 against 78.1",
                better=_student("large_teacher"),
                worse=_FIRST,
            ),
        ),
    ),
    Study(
        name="warm_start",
        title="Warm start",
        question="Should a student begin with its teacher's weights?",
        arms=("large_teacher", "warm_start"),
        lines=(
            _SUPERVISED,
            _student("warm_start"),
            _student("large_teacher"),
        ),
        claims=(
            Claim(
                text="a student from scratch is better",
                source=f"{_ABLATIONS}, study 8: B0 77.9 against 77.8",
                better=_student("large_teacher"),
                worse=_student("warm_start"),
            ),
        ),
    ),
    Study(
        name="joint",
        title="Joint training",
        question="Should labels and pseudo-labels be learned together?",
        arms=("pretrained", "fine_tuned"),
        lines=(
            _FIRST,
            _student("pretrained"),
            Subject("fine_tuned", "teacher"),
        ),
        claims=(
            Claim(
                text="learning labels and pseudo-labels together is better "
                "than one after the other",
                source=f"{_ABLATIONS}, study 6: B0 77.9 against 77.5",
                better=_FIRST,
                worse=Subject("fine_tuned", "teacher"),
            ),
        ),
    ),
    Study(
        name="fixres",
        title="FixRes",
        question="Does fine-tuning at a higher resolution help?",
        arms=("fixres",),
        lines=(_FIRST, Subject("fixres", "student_1_fixres")),
        claims=(
            Claim(
                text="fine-tuning at a higher resolution helps",
                source="released weights: L2 88.2 at 475 pixels, 88.4 at 800",
                better=Subject("fixres", "student_1_fixres"),
                worse=_FIRST,
            ),
        ),
    ),
    Study(
        name="peers",
        title="Beside what else one would try",
        question="What do simpler methods, and one of another kind, make of "
        "the same labels?",
        arms=("plain_pseudo_labels", "self_training_classifier", "fixmatch"),
        lines=(
            Subject("self_training_classifier", "teacher"),
            _student("self_training_classifier"),
            Subject("plain_pseudo_labels", "teacher"),
            _student("plain_pseudo_labels"),
            _student("fixmatch"),
            _FIRST,
            _LAST,
        ),
    ),
)


def study(name: str) -> Study:
    """Return a study.

    Raises:
        ValueError: There is none of that name; the nearest one is given.
    """
    by_name = {each.name: each for each in STUDIES}
    if name not in by_name:
        nearest = difflib.get_close_matches(name, by_name, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(
            f"--name={name}: no such study.{hint} Accepted: "
            f"{', '.join(by_name)}."
        )
    return by_name[name]


def arm(name: str) -> Arm:
    """Return an arm."""
    return next(each for each in ARMS if each.name == name)


def resolve(arm: Arm, *, seed: int, workdir: str) -> configuration.Config:
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
