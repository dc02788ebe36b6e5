import numpy as np
import pytest
from scipy import special

from noisy_student_tf.evaluation import drift

NAMES = ("cat", "dog", "elk")


def draw(seed, count=400, shares=(0.5, 0.3, 0.2), confidence=0.8, energy=-5.0):
    random = np.random.default_rng(seed)
    return drift.Predictions(
        classes=random.choice(3, count, p=shares),
        confidences=np.clip(random.normal(confidence, 0.1, count), 0, 1),
        energies=random.normal(energy, 1.0, count),
    )


def test_what_a_model_says_is_read_from_logits():
    logits = np.array([[0.0, 3.0, 1.0], [2.0, 2.0, 1.0]], np.float32)
    found = drift.of_logits(logits)
    assert found.classes.tolist() == [1, 0]
    odds = np.exp(logits)
    np.testing.assert_allclose(
        found.confidences, odds.max(1) / odds.sum(1), rtol=1e-6
    )
    np.testing.assert_allclose(found.energies, -np.log(odds.sum(1)), rtol=1e-6)
    both = drift.joined([found, found])
    assert both.classes.tolist() == [1, 0, 1, 0]


def test_pictures_of_one_kind_seldom_show_a_change():
    shown = [
        drift.compare(draw(seed), draw(1000 + seed), NAMES).shown
        for seed in range(40)
    ]
    # One in twenty by chance: 2 expected; of more than 6 the chance is 0.3 %.
    assert sum(map(bool, shown)) <= 6


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"confidence": 0.7}, "confidence, mean"),
        ({"energy": -4.0}, "energy, mean"),
        ({"shares": (0.2, 0.3, 0.5)}, "classes, total variation"),
    ],
)
def test_each_change_is_shown_by_its_name(change, name):
    found = drift.compare(draw(0, **change), draw(1), NAMES)
    assert found.shown == [name]
    assert (found.num_served, found.num_reference) == (400, 400)


def test_numbers_are_those_of_both_sides():
    served, reference = draw(0, count=50), draw(1)
    found = drift.compare(served, reference, NAMES)
    confidence, energy, mix = found.changes
    assert confidence.served == pytest.approx(served.confidences.mean())
    assert energy.reference == pytest.approx(reference.energies.mean())
    low, high = energy.interval
    assert low < energy.difference < high
    # The standard error of the difference is sqrt(1 / 50 + 1 / 400) = 0.15.
    assert 0.6 < high - low < 0.85
    shares = [np.bincount(each.classes) for each in (served, reference)]
    expected = np.abs(shares[0] / 50 - shares[1] / 400).sum() / 2
    assert mix.served == pytest.approx(expected)


def test_classes_that_differ_most_come_first_and_only_with_the_mix():
    changed = drift.compare(draw(0, shares=(0.1, 0.3, 0.6)), draw(1), NAMES)
    assert [each.name for each in changed.classes][2] == "dog"
    assert {e.name for e in changed.classes if e.is_shown} == {"cat", "elk"}
    same = drift.compare(draw(0), draw(1), NAMES)
    assert not any(each.is_shown for each in same.classes)


def test_a_class_that_nobody_sent_is_in_the_table():
    served = draw(0, shares=(0.5, 0.5, 0.0))
    found = drift.compare(served, draw(1), NAMES)
    assert {each.name: each.served for each in found.classes}["elk"] == 0


def test_too_few_pictures_are_no_answer():
    with pytest.raises(ValueError, match="29 served and 400 held-out"):
        drift.compare(draw(0, count=29), draw(1), NAMES)


def test_more_pictures_than_are_resampled_are_compared_in_full():
    served = draw(0, count=30_000, energy=-4.9)
    found = drift.compare(served, draw(1, count=30_000), NAMES)
    assert found.shown == ["energy, mean"]
    assert found.changes[1].served == pytest.approx(served.energies.mean())


def test_energies_are_of_logits_not_of_probabilities():
    logits = np.array([[10.0, 10.0]], np.float32)
    assert drift.of_logits(logits).energies[0] == pytest.approx(
        -special.logsumexp([10.0, 10.0])
    )
