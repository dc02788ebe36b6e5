"""The main table again, with labels that each seed draws anew.

A seed decides which images are labeled and which are for validation, initial
weights, order and noise. Budgets are equal, counted in steps and in images.
"""

import dataclasses
import math

from noisy_student_tf import configs
from study import experiments, measures, studies, tables
from study.fashion_mnist import arms

SEEDS = tuple(range(10))

# Of `docs/study.md`: the least gain over the baseline, in points.
NEEDED_POINTS = 3.0

_PREFIX = "drawn_"
_NUM_STUDENTS = 3
_STUDENT_EPOCHS = float(arms.COMMON["training.student_epochs"])

_NETWORKS = 1 + _NUM_STUDENTS
# A student's step is of 16 labeled images and of five times as many others.
_UNLABELED_RATIO = 5
_IMAGES_OF_LOOP = 1 + _NUM_STUDENTS * (1 + _UNLABELED_RATIO)


def _supervised(name: str, title: str, factor: int) -> experiments.Arm:
    """Return supervised training, so many times as long as one network."""
    return experiments.Arm(
        f"{_PREFIX}{name}",
        title,
        {
            "self_training.num_iterations": 0,
            "self_training.teacher_width": 0.0,
            "self_training.teacher_depth": 0.0,
            "training.teacher_epochs": factor * _STUDENT_EPOCHS,
        },
        titles={"teacher": title},
    )


ARMS = (
    _supervised("supervised", "supervised, as long as one student", 1),
    experiments.Arm(
        f"{_PREFIX}noisy_student",
        "Noisy Student",
        {
            "self_training.num_iterations": _NUM_STUDENTS,
            "training.unlabeled_ratio": float(_UNLABELED_RATIO),
        },
    ),
    _supervised(
        "supervised_steps",
        "supervised, for the steps of teacher and students together",
        _NETWORKS,
    ),
    _supervised(
        "supervised_images",
        "supervised, for the images of teacher and students together",
        _IMAGES_OF_LOOP,
    ),
)
_BASELINE, _MAIN, _STEPS, _IMAGES = (arm.name for arm in ARMS)

EXPERIMENT = dataclasses.replace(
    arms.EXPERIMENT,
    name="fashion_mnist_drawn",
    arms=ARMS,
    seed_fields=("seed", "data.split_seed"),
)

LAST = studies.Model(_MAIN, f"student_{_NUM_STUDENTS}")
FIRST = studies.Model(_MAIN, "student_1")
BASELINE = studies.Model(_BASELINE, "teacher")
AS_MANY_STEPS = studies.Model(_STEPS, "teacher")
AS_MANY_IMAGES = studies.Model(_IMAGES, "teacher")

STUDY = studies.Study(
    experiment=EXPERIMENT,
    name="fashion_labels",
    arms=tuple(arm.name for arm in ARMS),
    lines=(
        BASELINE,
        AS_MANY_STEPS,
        AS_MANY_IMAGES,
        studies.Model(_MAIN, "teacher"),
        FIRST,
        studies.Model(_MAIN, "student_2"),
        LAST,
    ),
    claims=(),
    seeds=SEEDS,
    baseline=BASELINE,
)

# Better, worse, and what is equal between the two.
_COMPARISONS = (
    (LAST, BASELINE, "steps of the last network"),
    (FIRST, BASELINE, "steps of the last network"),
    (LAST, AS_MANY_STEPS, "steps of all networks"),
    (LAST, AS_MANY_IMAGES, "images that all networks see"),
    (LAST, FIRST, "steps of the last network"),
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What made a model, those that it learned from included.

    Attributes:
        steps: Of all trainings.
        images: Seen in them, labeled or not, repetitions counted.
    """

    steps: int
    images: int


def budget_of(model: studies.Model) -> Budget:
    """Return the budget of a model of the table."""
    config = EXPERIMENT.resolve(
        EXPERIMENT.arm(model.arm), seed=0, workdir="{workdir}"
    )
    num_students = 0
    if model.name != "teacher":
        num_students = int(model.name.removeprefix("student_"))
    teacher = _steps(config, config.training.teacher_epochs)
    student = _steps(config, config.training.student_epochs)
    labeled = config.training.labeled_batch_size
    unlabeled = config.training.unlabeled_batch_size
    return Budget(
        steps=teacher + num_students * student,
        images=teacher * labeled
        + num_students * student * (labeled + unlabeled),
    )


def _steps(config: configs.Config, epochs: float) -> int:
    num_labeled = config.data.labeled_per_class * config.data.num_classes
    return math.ceil(epochs * num_labeled / config.training.labeled_batch_size)


def of_models(measured: measures.Measurements) -> str:
    """Return the means over draws of every model, with its whole budget."""
    heading = [
        "model",
        "parameters",
        "steps, with its teachers",
        "images seen, with its teachers",
        "draws",
        "mean top-1, 95 % interval",
        "lowest and highest",
    ]
    lines = []
    for model in STUDY.lines:
        found = measured.values(model, SEEDS, "accuracy")
        budget = budget_of(model)
        lines.append(
            [
                STUDY.title_of(model),
                tables.parameters(model, measured),
                f"{budget.steps:,}",
                f"{budget.images:,}",
                f"{len(found)} of {len(SEEDS)}",
                tables.interval(found),
                f"{min(found):.2f} to {max(found):.2f}"
                if found
                else tables.OPEN,
            ]
        )
    return tables.markdown(heading, lines)


def of_differences(measured: measures.Measurements) -> str:
    """Return the paired differences, the share that gains, and the bar."""
    heading = [
        "better",
        "than",
        "equal in",
        "points by draw",
        "mean, 95 % interval, paired",
        "draws that gain",
    ]
    lines = []
    for better, worse, equal in _COMPARISONS:
        found = measured.paired(better, worse, "accuracy")
        num_gains = sum(value > 0 for value in found)
        lines.append(
            [
                STUDY.title_of(better),
                STUDY.title_of(worse),
                equal,
                ", ".join(f"{value:+.1f}" for value in found) or tables.OPEN,
                tables.interval(found, signed=True),
                f"{num_gains} of {len(found)}" if found else tables.OPEN,
            ]
        )
    bar = (
        f"Bar, the first line over {len(SEEDS)} draws: a mean of at least "
        f"{NEEDED_POINTS:+g} points, and the interval above zero: "
        f"{_judge(measured.paired(LAST, BASELINE, 'accuracy'))}."
    )
    return f"{tables.markdown(heading, lines)}\n\n{bar}"


def _judge(differences: list[float]) -> str:
    if len(differences) < len(SEEDS):
        return tables.OPEN
    mean, low, _ = measures.summarize(differences)
    return "met" if mean >= NEEDED_POINTS and low > 0 else "missed"
