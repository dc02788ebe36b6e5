"""A search of equal size for each method that learns from few labels.

Six settings a method, the same budget of images for each, one draw of 100
labels that no table has. Validation images alone are recorded.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study import experiments, run_records, studies, tables
from study.fashion_mnist import arms, drawn_labels

# No seed of a table: other labels and other validation images.
SEED = 100

_BATCH, _RATIO = 16, 5
# Of a teacher and three students, which is what each trial sees.
NUM_IMAGES = drawn_labels.budget_of(drawn_labels.LAST).images
# FixMatch and FreeMatch see each unlabeled image twice.
_TOOLKIT_STEPS = NUM_IMAGES // (_BATCH * (1 + 2 * _RATIO))

_RATES = (0.4, 0.8, 1.6)
_TOOLKIT_RATES = (0.01, 0.03, 0.1)

_LOOP: Mapping[str, Any] = {
    "self_training.num_iterations": 3,
    "training.unlabeled_ratio": float(_RATIO),
}


@dataclasses.dataclass(frozen=True)
class Method:
    """What is searched for.

    Attributes:
        name: Of its arms.
        title: Of its lines.
        changes: Of the configuration, of all its settings.
        grid: Field, or setting of the toolkit, -> the values that are tried.
        kind: Of the arms.
        model: The one that a setting is judged by.
    """

    name: str
    title: str
    changes: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    kind: experiments.Kind = "loop"
    model: str = "student_3"

    def settings(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of the grid."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def arm_name(self, number: int) -> str:
        """Return the name of a setting's arm."""
        return f"search_{self.name}_{number}"


METHODS = (
    Method(
        "supervised",
        "supervised",
        {
            "self_training.num_iterations": 0,
            "self_training.teacher_width": 0.0,
            "self_training.teacher_depth": 0.0,
            # 19,000 steps of 16 of 100 images.
            "training.teacher_epochs": NUM_IMAGES / 100,
        },
        {
            "optimizer.base_learning_rate": _RATES,
            "model.dropout_rate": (0.5, 0.2),
        },
        model="teacher",
    ),
    Method(
        "pseudo_labels",
        "pseudo-labels without noise",
        {
            **_LOOP,
            "augmentation.labeled.policy": "none",
            "augmentation.unlabeled.policy": "none",
            "model.dropout_rate": 0.0,
            "model.stochastic_depth_rate": 0.0,
            "loss.pseudo_labels": "hard",
        },
        {
            "optimizer.base_learning_rate": _RATES,
            "selection.confidence_threshold": (0.8, 0.95),
        },
    ),
    Method(
        "noisy_student",
        "Noisy Student",
        _LOOP,
        {
            "optimizer.base_learning_rate": _RATES,
            "selection.confidence_threshold": (0.8, 0.95),
        },
    ),
    Method(
        "fixmatch",
        "FixMatch",
        {},
        {"learning_rate": _TOOLKIT_RATES, "threshold": (0.8, 0.95)},
        kind="fixmatch",
        model="student_1",
    ),
    Method(
        "freematch",
        "FreeMatch",
        {},
        {"learning_rate": _TOOLKIT_RATES, "threshold_decay": (0.99, 0.999)},
        kind="fixmatch",
        model="student_1",
    ),
)


def _arms() -> Iterator[experiments.Arm]:
    first = METHODS[0].arm_name(0)
    for method in METHODS:
        for number, setting in enumerate(method.settings()):
            is_ours = method.kind == "loop"
            title = f"{method.title}: {_describe(setting)}"
            yield experiments.Arm(
                method.arm_name(number),
                title,
                {**method.changes, **(setting if is_ours else {})},
                needs=() if is_ours else (first,),
                kind=method.kind,
                settings={}
                if is_ours
                else {
                    "algorithm": method.name,
                    "steps": _TOOLKIT_STEPS,
                    **setting,
                },
                titles={method.model: title},
            )


def _describe(setting: Mapping[str, Any]) -> str:
    parts = [
        f"{name.rsplit('.', 1)[-1].replace('_', ' ')} {value:g}"
        for name, value in setting.items()
    ]
    return ", ".join(parts)


EXPERIMENT = dataclasses.replace(
    arms.EXPERIMENT,
    name="fashion_mnist_search",
    arms=tuple(_arms()),
    seed_fields=("seed", "data.split_seed"),
    hides_test=True,
)

STUDY = studies.Study(
    experiment=EXPERIMENT,
    name="fashion_search",
    arms=tuple(arm.name for arm in EXPERIMENT.arms),
    lines=(),
    claims=(),
    seeds=(SEED,),
    baseline=studies.Model(METHODS[0].arm_name(0), METHODS[0].model),
)


def of_trials(records: Sequence[run_records.Record]) -> str:
    """Return what every setting reached on validation images.

    The best of each method is in bold, once all of its settings have run.
    """
    by_arm = {
        record["arm"]: record for record in records if record["seed"] == SEED
    }
    lines = []
    for method in METHODS:
        found = [
            _accuracy(by_arm.get(method.arm_name(number)), method.model)
            for number, _ in enumerate(method.settings())
        ]
        is_whole = not any(map(math.isnan, found))
        for setting, accuracy in zip(method.settings(), found, strict=True):
            text = tables.OPEN if math.isnan(accuracy) else f"{accuracy:.2f}"
            if is_whole and accuracy == max(found):
                text = f"**{text}**"
            lines.append([method.title, _describe(setting), text])
    heading = ["method", "setting", "validation top-1 of one draw"]
    return tables.markdown(heading, lines)


def _accuracy(record: run_records.Record | None, model: str) -> float:
    """Return a model's accuracy on validation images in percent, or nan."""
    rows = run_records.rows_of(record, model) if record else []
    for row in rows:
        if row["split"] == "validation" and "measure" not in row:
            return 100 * row["accuracy"]
    return math.nan
