import dataclasses
import json

import numpy as np
import pytest
from absl import logging
from sklearn import metrics as sklearn_metrics

from noisy_student_tf.evaluation import class_metrics, metrics
from noisy_student_tf.records import held_out
from tests.records import test_held_out


def measure(directory, probabilities, labels, names=()):
    path = held_out.path(str(directory), "test")
    test_held_out.write(path, np.log(probabilities), labels)
    return class_metrics.measure(path, names)


@pytest.fixture
def defects(tmp_path):
    """Two of five images have a defect; one of them is found, and a good one.

    By falling probability of a defect: good, bad, good, bad, good.
    """
    bad = np.array([0.9, 0.8, 0.4, 0.3, 0.1])
    labels = [0, 1, 0, 1, 0]
    probabilities = np.stack([1 - bad, bad], axis=1)
    return measure(tmp_path, probabilities, labels, ["good", "bad"])


def test_values_worked_out_by_hand(defects):
    good, bad = defects.classes
    assert (good.name, good.num_images, good.num_predicted) == ("good", 3, 3)
    assert (good.precision, good.recall) == (2 / 3, 2 / 3)
    assert (bad.name, bad.num_images, bad.num_predicted) == ("bad", 2, 2)
    assert (bad.precision, bad.recall, bad.f1) == (0.5, 0.5, 0.5)
    # Of the six pairs of a bad and a good image, three are in order.
    assert bad.auroc == good.auroc == pytest.approx(3 / 6)
    # The bad ones are second and fourth: 1 of 2, 2 of 4.
    assert bad.average_precision == pytest.approx((1 / 2 + 2 / 4) / 2)
    # The good ones are first, third and fifth from the other end.
    expected = (1 / 1 + 2 / 3 + 3 / 5) / 3
    assert good.average_precision == pytest.approx(expected)
    assert defects.confusions == ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 1))
    assert defects.matrix().tolist() == [[2, 1], [1, 1]]


def test_the_rarer_of_two_classes_is_the_one_sought(defects):
    summary = class_metrics.summarize(defects)
    assert summary == {
        "majority_rate": 3 / 5,
        "macro_f1": pytest.approx((2 / 3 + 1 / 2) / 2),
        "balanced_accuracy": pytest.approx((2 / 3 + 1 / 2) / 2),
        "auroc": pytest.approx(1 / 2),
        "average_precision": pytest.approx(1 / 2),
        "positive_class": 1,
    }
    assert tuple(summary) == metrics.OF_CLASSES
    assert class_metrics.positive_class([2, 3]) == 0
    assert class_metrics.positive_class([3, 3]) == 1
    assert class_metrics.positive_class([3, 3, 1]) is None


def test_means_are_those_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 60)
    labels = rng.integers(0, 4, 60)
    measured = measure(tmp_path, probabilities, labels)
    summary = class_metrics.summarize(measured)
    chosen = probabilities.argmax(axis=1)

    np.testing.assert_array_equal(
        measured.matrix(), sklearn_metrics.confusion_matrix(labels, chosen)
    )
    assert [each.name for each in measured.classes] == ["0", "1", "2", "3"]
    expected = {
        "macro_f1": sklearn_metrics.f1_score(labels, chosen, average="macro"),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(
            labels, chosen
        ),
        "auroc": sklearn_metrics.roc_auc_score(
            labels, probabilities, multi_class="ovr"
        ),
        "average_precision": sklearn_metrics.average_precision_score(
            labels, probabilities
        ),
    }
    for name, value in expected.items():
        # Logits are stored in float32.
        assert summary[name] == pytest.approx(value, abs=1e-9), name


def test_what_the_images_do_not_determine_is_none(tmp_path, monkeypatch):
    """Class 1 is never chosen, class 2 has no images, but is chosen once."""
    measured = measure(
        tmp_path,
        [[0.6, 0.3, 0.1], [0.5, 0.35, 0.15], [0.2, 0.25, 0.55]],
        [0, 1, 1],
        ["a", "b", "c"],
    )
    _, never_chosen, without_images = measured.classes
    assert never_chosen.precision is None
    assert (never_chosen.recall, never_chosen.f1) == (0, 0)
    assert never_chosen.auroc == 0.5
    assert without_images == class_metrics.ClassMetrics(
        "c", 0, 1, 0.0, None, None, None, None
    )
    summary = class_metrics.summarize(measured)
    # Of "a" precision is 1 / 2 and recall 1.
    assert summary["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert summary["balanced_accuracy"] == 0.5
    said = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: said.append(text % values)
    )
    class_metrics.warn_of_missing(measured, "teacher, test images")
    assert said == [
        "teacher, test images: there are no images of 1 of 3 classes (c): "
        "nothing is said of them, and means leave them out."
    ]


def test_one_kind_of_image_has_no_ranking(tmp_path):
    summary = class_metrics.summarize(
        measure(tmp_path, [[0.6, 0.4], [0.4, 0.6]], [0, 0])
    )
    assert summary["auroc"] is summary["average_precision"] is None
    assert summary["majority_rate"] == 1
    assert summary["balanced_accuracy"] == 0.5


def test_what_is_written_is_read_and_is_json(defects, tmp_path):
    path = held_out.path(str(tmp_path), "test")
    assert class_metrics.read(path) is None
    changed = dataclasses.replace(
        defects,
        classes=(
            defects.classes[0],
            dataclasses.replace(defects.classes[1], precision=None),
        ),
    )

    class_metrics.write(path, changed)

    assert class_metrics.read(path) == changed
    content = (tmp_path / "held_out_test_classes.json").read_text()
    # Not-a-number is no JSON.
    assert json.loads(content, parse_constant=pytest.fail)


def test_sure_models_are_ranked_by_how_sure_they_are(tmp_path):
    """Half of the images are told apart where float32 would round to 1."""
    path = held_out.path(str(tmp_path), "test")
    margins = np.array([20.0, 21, 22, 23])
    test_held_out.write(
        path, np.stack([np.zeros(4), margins], axis=1), [0, 0, 1, 1]
    )
    assert class_metrics.measure(path).classes[1].auroc == 1
