import json
import pathlib

import numpy as np

from noisy_student_tf.pseudo_labels import published_rule

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def test_thresholds_and_counts_are_the_authors():
    data = np.load(_GOLDEN / "histogram_filter.npz")
    golden = json.loads((_GOLDEN / "histogram_filter.json").read_text())
    probabilities = data["probabilities"]
    counts = sum(
        published_rule.histogram(
            shard.argmax(axis=1), shard.max(axis=1), num_classes=6
        )
        for shard in probabilities
    )
    selected = published_rule.select_thresholds(
        counts,
        confidence_threshold=float(data["min_confidence"]),
        images_per_class=int(data["images_per_class"]),
    )
    expected = [golden["selected"][str(i)] for i in range(6)]
    np.testing.assert_allclose(
        selected.thresholds, [entry["threshold"] for entry in expected]
    )
    assert selected.num_at_or_above.tolist() == [
        entry["images_at_or_above_threshold"] for entry in expected
    ]
    # One unseeded draw of the fractions, within 4 standard deviations.
    fraction = selected.expected_copies % 1
    spread = np.sqrt(selected.num_at_or_above * fraction * (1 - fraction))
    written = golden["rows_written_including_copies"]
    gaps = np.abs([written[str(i)] - 150 for i in range(6)])
    assert (gaps <= 4 * spread + 1e-9).all()


def test_class_without_images_stays_at_the_threshold():
    selected = published_rule.select_thresholds(
        np.zeros((1, 101), np.int64),
        confidence_threshold=0.3,
        images_per_class=5,
    )
    assert selected.thresholds.tolist() == [0.3]
    assert selected.num_at_or_above.tolist() == [0]
    assert selected.expected_copies.tolist() == [0.0]


def test_bins_are_closed_below_and_open_above():
    counts = published_rule.histogram(
        np.array([0, 0, 0]), np.array([0.25, 0.2599, 1.0]), num_classes=1
    )
    assert counts[0, 25] == 2
    assert counts[0, 100] == 1
