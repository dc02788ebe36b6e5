import dataclasses

import numpy as np
import pytest

from noisy_student_tf.evaluation import metrics
from noisy_student_tf.evaluation.significance import chance


def repeat(*counts):
    """Return class 0 so many times, then class 1, and so on."""
    return np.repeat(np.arange(len(counts)), counts)


def test_a_standing_survives_the_manifest():
    found = metrics.standing(repeat(3, 4), repeat(3, 4))

    manifest = {"standing": {"train": dataclasses.asdict(found)}}

    assert chance.read(manifest) == {"train": found}
    assert chance.read({}) == {}


@pytest.mark.parametrize(
    ("num_images", "others", "expected"),
    [
        (metrics.MIN_IMAGES, ("folds", "train"), "validation"),
        (metrics.MIN_IMAGES - 1, ("folds", "train"), "folds"),
        (metrics.MIN_IMAGES - 1, ("train",), "train"),
        (2, (), "validation"),
        (0, ("train",), "train"),
    ],
)
def test_images_that_decide(num_images, others, expected):
    some = metrics.standing(repeat(3, 4), repeat(3, 4))
    standings = dict.fromkeys(others, some)
    if num_images:
        standings["validation"] = dataclasses.replace(
            some, num_images=num_images
        )

    assert chance.deciding(standings) == expected


def test_the_description_has_the_numbers_to_judge_by():
    text = chance.describe(
        metrics.standing(repeat(2, 6), np.ones(8, np.int64)), "crack"
    )

    assert text == (
        "75.0% right; naming 'crack' for every one has 75.0% (p = 0.68); mean "
        "recall 50.0%, by chance 50.0% (p = 1); it names 1 of 2 classes"
    )
