"""The study's tables, and what of the paper they can confirm, as data.

A study is a table over some arms, with the paper's directions.
"""

import dataclasses
import difflib
from typing import Literal

from study import arms

# Of the main table, and of all others.
MAIN_SEEDS = (0, 1, 2, 3, 4, 5)
ABLATION_SEEDS = (2, 3)

# Of the attack that decides, in pixels of [0, 255].
FGSM_EPSILON_PIXELS = 4.0

Measure = Literal["accuracy", "mce", "mfr", "fgsm", "pgd"]
# Of these, less is better.
ERRORS = ("mce", "mfr")


@dataclasses.dataclass(frozen=True, order=True)
class Model:
    """One model of an arm, as `results.json` names it."""

    arm: str
    name: str


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
    better: Model
    worse: Model
    measure: Measure = "accuracy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A table.

    Attributes:
        name: Of the table, and of `--name`.
        arms: Names of the arms, in the order in which they run.
        lines: What the table shows.
        claims: The paper's directions.
        seeds: With which it runs.
    """

    name: str
    arms: tuple[str, ...]
    lines: tuple[Model, ...]
    claims: tuple[Claim, ...] = ()
    seeds: tuple[int, ...] = ABLATION_SEEDS


_SUPERVISED = Model(arms.BASELINE, "teacher")
_TEACHER = Model(arms.MAIN, "teacher")
_FIRST = Model(arms.MAIN, "student_1")
_SECOND = Model(arms.MAIN, "student_2")
_LAST = Model(arms.MAIN, "student_3")
_ABLATIONS = "appendix A.2"


def _student(arm: str) -> Model:
    return Model(arm, "student_1")


STUDIES: tuple[Study, ...] = (
    Study(
        name="main",
        arms=(arms.BASELINE, arms.MAIN),
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
        arms=("pretrained", "fine_tuned"),
        lines=(
            _FIRST,
            _student("pretrained"),
            Model("fine_tuned", "teacher"),
        ),
        claims=(
            Claim(
                text="learning labels and pseudo-labels together is better "
                "than one after the other",
                source=f"{_ABLATIONS}, study 6: B0 77.9 against 77.5",
                better=_FIRST,
                worse=Model("fine_tuned", "teacher"),
            ),
        ),
    ),
    Study(
        name="fixres",
        arms=("fixres",),
        lines=(_FIRST, Model("fixres", "student_1_fixres")),
        claims=(
            Claim(
                text="fine-tuning at a higher resolution helps",
                source="released weights: L2 88.2 at 475 pixels, 88.4 at 800",
                better=Model("fixres", "student_1_fixres"),
                worse=_FIRST,
            ),
        ),
    ),
    Study(
        name="peers",
        arms=("plain_pseudo_labels", "self_training_classifier", "fixmatch"),
        lines=(
            Model("self_training_classifier", "teacher"),
            _student("self_training_classifier"),
            Model("plain_pseudo_labels", "teacher"),
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
