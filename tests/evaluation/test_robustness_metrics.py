import numpy as np
import pytest

from noisy_student_tf.evaluation import (
    published,
    robustness,
    robustness_metrics,
)
from noisy_student_tf.records import robustness_sets
from noisy_student_tf.report.robustness import robustness_tables

# Mean errors over severities, in percent, of ResNeXt-101 32x48d WSL
# (eminorhan/resnext-wsl), in the order of mCE's corruptions.
WSL_ERRORS = (
    36.5868,
    38.4364,
    39.8076,
    39.1164,
    54.8180,
    37.5004,
    44.4944,
    39.6656,
    37.8044,
    29.9156,
    18.3760,
    32.1096,
    40.2592,
    25.6256,
    26.9004,
)
# Its flip probabilities in percent, in the order of mFR's perturbations.
WSL_FLIPS = (5.85, 6.99, 2.84, 2.32, 3.67, 1.54, 2.42, 3.47, 2.15, 4.62)


def constant_errors(share=0.5):
    return {name: [share] * 5 for name in robustness_sets.CORRUPTIONS}


def test_mce_of_a_published_network_is_the_published_one():
    errors = {
        name: [percent / 100] * 5
        for name, percent in zip(
            robustness_sets.CORRUPTIONS, WSL_ERRORS, strict=True
        )
    }
    mce = robustness_metrics.mean_corruption_error(
        errors, published.ALEXNET_ERRORS
    )
    assert mce == pytest.approx(45.70, abs=0.02)


def test_mfr_of_a_published_network_is_the_published_one():
    flips = {
        name: percent / 100
        for name, percent in zip(
            robustness_sets.PERTURBATIONS, WSL_FLIPS, strict=True
        )
    }
    mfr = robustness_metrics.mean_ratio(
        flips, published.ALEXNET_FLIP_PROBABILITIES
    )
    assert mfr == pytest.approx(27.84, abs=0.02)


def test_alexnet_itself_has_100():
    own = published.ALEXNET_ERRORS
    assert robustness_metrics.mean_corruption_error(own, own) == pytest.approx(
        100
    )


def test_imagenet_a_has_200_classes_in_order():
    classes = published.IMAGENET_A_CLASSES
    assert len(set(classes)) == 200
    assert list(classes) == sorted(classes)
    assert (classes[0], classes[1], classes[-1]) == (6, 11, 988)


def test_extra_corruptions_do_not_count():
    errors = constant_errors() | {"saturate": [1.0] * 5}
    baseline = constant_errors(1.0) | {"saturate": [1.0] * 5}
    assert robustness_metrics.mean_corruption_error(
        errors, baseline
    ) == pytest.approx(50)
    assert robustness_metrics.mean_accuracy(errors) == pytest.approx(0.5)


@pytest.mark.parametrize("severities", [0, 4])
def test_a_missing_part_is_named_and_not_averaged_over(severities):
    errors = constant_errors()
    errors["frost"] = errors["frost"][:severities]
    with pytest.raises(ValueError, match=r"missing of frost"):
        robustness_metrics.mean_corruption_error(errors, constant_errors())
    flips = dict.fromkeys(robustness_sets.PERTURBATIONS, 0.1)
    del flips["tilt"]
    with pytest.raises(ValueError, match="no value: tilt"):
        robustness_metrics.mean_ratio(flips, flips)


def test_a_faultless_baseline_normalizes_nothing():
    baseline = constant_errors() | {"fog": [0.0] * 5}
    assert (
        robustness_metrics.mean_corruption_error(constant_errors(), baseline)
        is None
    )


def sequences(**flips):
    """Return a row of sequences: 0.1 but for the perturbations named."""
    names = robustness_sets.PERTURBATIONS
    return {
        "measure": robustness.PERTURBATIONS,
        "difficulty": 1,
        "flip_probabilities": dict.fromkeys(names, 0.1) | flips,
        "top5_distances": dict.fromkeys(names, 0.1),
    }


def test_mfr_without_a_baseline_says_of_how_many_perturbations_it_is():
    baseline = sequences(tilt=0.0, brightness=0.0)
    row = robustness.normalize(sequences(rotate=0.5), baseline, "teacher")
    assert row["mfr"] is None
    assert row["never_flipped"] == ["brightness", "tilt"]
    # Seven of 1 and one of 5.
    assert row["mfr_of_defined"] == pytest.approx(150)
    assert robustness_tables.flip_rate(row) == "-"


def test_mfr_with_all_baselines_is_the_mean_of_all():
    row = robustness.normalize(sequences(rotate=0.5), sequences(), "teacher")
    assert row["never_flipped"] == []
    assert robustness_tables.flip_rate(row) == "140.0"


def test_nothing_is_left_of_mfr_where_the_baseline_never_flips():
    never = sequences(**dict.fromkeys(robustness_sets.PERTURBATIONS, 0.0))
    row = robustness.normalize(sequences(), never, "teacher")
    assert row["mfr_of_defined"] is None
    assert robustness_tables.flip_rate(row) == "-"


def test_noise_is_compared_with_the_clean_frame():
    classes = np.array([1, 2, 2, 1, 2])
    # 2, 2, 1, 2 against 1: three of four differ.
    assert robustness_metrics.flip_probability(
        classes, is_noise=True
    ) == pytest.approx(3 / 4)


def test_other_frames_are_compared_with_their_predecessor():
    classes = np.array([1, 2, 2, 1, 2])
    # 1-2, 2-2, 2-1, 1-2: three of four differ.
    assert robustness_metrics.flip_probability(
        np.array([1, 2, 2, 2, 2]), is_noise=False
    ) == pytest.approx(1 / 4)
    assert robustness_metrics.flip_probability(
        classes, is_noise=False
    ) == pytest.approx(3 / 4)


def test_difficulty_2_compares_every_other_frame():
    classes = np.array([1, 2, 1, 2, 3])
    # 1-1, 2-2, 1-3: one of three differs.
    assert robustness_metrics.flip_probability(
        classes, is_noise=False, difficulty=2
    ) == pytest.approx(1 / 3)
    # Noise of difficulty 2 has a set of its own, and the same rule.
    assert robustness_metrics.flip_probability(
        classes, is_noise=True, difficulty=2
    ) == pytest.approx(3 / 4)


def test_one_frame_is_no_sequence():
    with pytest.raises(ValueError, match="1 frames"):
        robustness_metrics.flip_probability(np.array([1]), is_noise=True)


def logits_of(order):
    """Return logits that rank classes in this order."""
    logits = np.zeros(len(order))
    logits[list(order)] = -np.arange(len(order), dtype=float)
    return logits


def test_top5_distance_counts_places():
    first = logits_of([0, 1, 2, 3, 4, 5, 6, 7])
    swapped = logits_of([1, 0, 2, 3, 4, 5, 6, 7])
    dropped = logits_of([1, 2, 3, 4, 5, 6, 7, 0])
    distance = robustness_metrics.top5_distance
    assert distance(np.stack([first, first]), is_noise=True) == 0
    # Places 1 and 2 change: a step each.
    assert distance(np.stack([first, swapped]), is_noise=True) == 2
    # The first falls behind the fifth place, 5 steps; four rise by one.
    assert distance(np.stack([first, dropped]), is_noise=True) == 9
    # Behind the fifth place nothing counts.
    behind = logits_of([0, 1, 2, 3, 4, 7, 6, 5])
    assert distance(np.stack([first, behind]), is_noise=True) == 0
