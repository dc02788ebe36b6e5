import dataclasses

import numpy as np
import pytest

from noisy_student_tf import configs, recipes
from noisy_student_tf.configs import config_tree
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.evaluation.significance import cautions

NAMES = ["crack", "whole", "other"]


def of_data(train, **held_out):
    counts = {"validation": [20, 20, 20], "train": train, **held_out}
    labeled = {
        "class_names": NAMES[: len(train)],
        "counts_per_class": {
            split: per_class[: len(train)]
            for split, per_class in counts.items()
        },
    }
    return list(cautions.of_data(labeled))


def test_nothing_is_said_of_plain_data():
    assert of_data([20, 40, 30], test=[5, 5, 5]) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"train": [1, 40, 30]}, "'crack': one labeled image to train on"),
        ({"train": [400, 2]}, "Of 'crack' there are 400 labeled images, of"),
        (
            {"train": [9, 9, 9], "validation": [30, 0, 30]},
            "'whole': no validation images",
        ),
        ({"train": [9, 9, 9], "test": [0, 0, 3]}, "'crack', 'whole': no test"),
        (
            {"train": [9, 9, 9], "validation": [3, 3, 3]},
            "There are 9 validation images, fewer than 30",
        ),
    ],
)
def test_what_is_odd_is_said(data, expected):
    (caution,) = of_data(**data)

    assert caution.startswith(expected)


def test_no_validation_images_are_few():
    labeled = {"class_names": NAMES, "counts_per_class": {"train": [9, 9, 9]}}

    (caution,) = cautions.of_data(labeled)

    assert caution.startswith("There are no validation images: the last model")
    assert "--evaluation.teacher_folds=5" in caution


def of_model(labels, named):
    standing = metrics.standing(np.array(labels), np.array(named))
    manifest = {"standing": {"train": dataclasses.asdict(standing)}}
    return list(cautions.of_model("Student 1", manifest, NAMES))


def test_a_model_that_misses_a_class_is_named():
    labels = [0] * 20 + [1] * 20 + [2] * 20

    assert of_model(labels, labels) == []
    assert of_model(labels, [0] * 20 + [1] * 40) == [
        "Student 1 names 2 of the 3 classes of the train images, and never "
        "the others."
    ]
    (caution,) = of_model(labels, [1] * 60)
    assert "not significantly better than naming one class" in caution
    assert list(cautions.of_model("Student 1", {}, NAMES)) == []


def test_a_gain_that_may_be_none_is_said_of_the_last_student():
    config = config_tree.override(
        configs.Config(), {"self_training.num_iterations": 2}
    )
    plain = {"model": "student_2", "split": "test"}
    row = {
        **plain,
        "measure": "comparison",
        "baseline": "teacher",
        "num_images": 600,
        "difference": 0.02,
        "interval_95": [-0.01, 0.05],
        "p_value": 0.2,
    }
    shown = row | {"interval_95": [0.01, 0.05], "p_value": 0.01}
    others = [row | {"model": "student_1"}, row | {"split": "validation"}]

    found = list(
        cautions.of_comparisons(
            recipes.of(config), [plain, row, shown, *others]
        )
    )

    assert found == [
        "The 600 test images show no difference between student_2 and "
        "teacher: +2.0 points, 95 % interval -1.0 to +5.0."
    ]
