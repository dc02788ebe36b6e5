"""The tables on Fashion-MNIST, and what of the paper they can confirm."""

import re

from study import studies
from study.fashion_mnist import arms

EXPERIMENT = arms.EXPERIMENT

# Of the main table, and of all others.
MAIN_SEEDS = (0, 1, 2, 3, 4, 5)
ABLATION_SEEDS = (2, 3)

# What mCE and mFR are relative to: 100.
BASELINE = studies.Model(arms.BASELINE, "teacher")

# Models by short names; another arm's name stands for its first student.
_MODELS = {
    "supervised": BASELINE,
    "teacher": studies.Model(arms.MAIN, "teacher"),
    "first": studies.Model(arms.MAIN, "student_1"),
    "second": studies.Model(arms.MAIN, "student_2"),
    "last": studies.Model(arms.MAIN, "student_3"),
    "fine_tuned": studies.Model("fine_tuned", "teacher"),
    "fixres": studies.Model("fixres", "student_1_fixres"),
    "classifier": studies.Model("self_training_classifier", "teacher"),
    "plain_teacher": studies.Model("plain_pseudo_labels", "teacher"),
}

# A paragraph a study: its arms; the lines of its table; and of each claim the
# text, then which model is better than which, by what, and the source.
_STUDIES = f"""\
main: supervised noisy_student
table: supervised teacher first second last
the last student beats the supervised baseline
  last > supervised: Table 2: 88.4 against 85.5
a first student beats the supervised baseline
  first > supervised: Figure 2: +0.8 to +1.4 for B0 to B7
iterating helps: the third student beats the first
  last > first: Table 7: 87.6, 88.1, 88.4
the student's mCE is lower
  last > supervised by mce: Table 4: 28.3 against 42.5
the student's mFR is lower
  last > supervised by mfr: Table 5: 12.2 against 23.7
the student is better under FGSM of {studies.FGSM_EPSILON_PIXELS:g} pixels
  last > supervised by fgsm: Figure 4: 77.8 against 64.6
the student is better under PGD of 16 pixels
  last > supervised by pgd: Section 4.2: 4.4 against 1.1

noise: no_augmentation no_noise noised_teacher
table: supervised first no_augmentation no_noise noised_teacher
RandAugment on unlabeled images helps
  first > no_augmentation: Table 6: 85.1 against 84.6
dropout and stochastic depth on unlabeled images help
  no_augmentation > no_noise: Table 6: 84.6 against 84.3
all noise together helps
  first > no_noise: Table 6: 85.1 against 84.3
a clean teacher is better than a noised one
  first > noised_teacher: Table 6: 85.1 against 84.4

ratio: ratio_1
table: ratio_1 first
a larger ratio is better
  first > ratio_1: appendix A.2, study 7: L2 86.7 at 1:1, 87.4 at 3:1

labels: hard soft_unsure hard_unsure
table: supervised first hard soft_unsure hard_unsure
hard labels help, too, where the teacher is sure
  hard > supervised: appendix A.2, study 3, a figure
soft labels are better where the teacher is not sure
  soft_unsure > hard_unsure: appendix A.2, study 3, a figure

balance: long_tail long_tail_unbalanced
table: long_tail long_tail_unbalanced
balancing helps
  long_tail > long_tail_unbalanced: appendix A.2, study 5: B0 77.9 against 77.6

amount: quarter_of_unlabeled
table: first quarter_of_unlabeled
more unlabeled images are better
  first > quarter_of_unlabeled: appendix A.2, study 2: 84.0 against 83.8

student_capacity: small_student
table: teacher small_student first
a larger student is better
  first > small_student: appendix A.2, study 4: B1 79.5 against B0 77.9

teacher_capacity: large_teacher
table: teacher first supervised large_teacher
a larger teacher is better
  large_teacher > first: appendix A.2, study 1: B0 78.8 against 78.1

warm_start: large_teacher warm_start
table: supervised warm_start large_teacher
a student from scratch is better
  large_teacher > warm_start: appendix A.2, study 8: B0 77.9 against 77.8

joint: pretrained fine_tuned
table: first pretrained fine_tuned
learning labels and pseudo-labels together is better than one after the other
  first > fine_tuned: appendix A.2, study 6: B0 77.9 against 77.5

fixres: fixres
table: first fixres
fine-tuning at a higher resolution helps
  fixres > first: released weights: L2 88.2 at 475 pixels, 88.4 at 800

peers: plain_pseudo_labels self_training_classifier fixmatch
table: classifier self_training_classifier \
    plain_teacher plain_pseudo_labels fixmatch first last"""

_DECISION = re.compile(r" *(\w+) > (\w+)(?: by (\w+))?: (.*)")


def _model(name: str) -> studies.Model:
    return _MODELS.get(name) or studies.Model(name, "student_1")


def _parse_claim(text: str, decision: str) -> studies.Claim:
    ((better, worse, measure, source),) = _DECISION.findall(decision)
    return studies.Claim(
        text, source, _model(better), _model(worse), measure or "accuracy"
    )


def _parse(paragraph: str) -> studies.Study:
    runs, table, *claims = paragraph.splitlines()
    name, names = runs.split(": ")
    return studies.Study(
        experiment=EXPERIMENT,
        name=name,
        arms=tuple(names.split()),
        lines=tuple(map(_model, table.removeprefix("table: ").split())),
        claims=tuple(map(_parse_claim, claims[::2], claims[1::2])),
        seeds=MAIN_SEEDS if name == "main" else ABLATION_SEEDS,
        baseline=BASELINE,
    )


STUDIES = tuple(map(_parse, _STUDIES.split("\n\n")))
