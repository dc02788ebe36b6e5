import collections
import os
import tempfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from noisy_student_tf import configs
from noisy_student_tf.pseudo_labels import cuts, ranks, select
from noisy_student_tf.records import parquet_files, predictions
from tests.pseudo_labels import synthetic

_SEED = 5

# Few values, so that ties are common: beside the threshold, and beside 1.
_CONFIDENCES = strategies.sampled_from(
    np.float32([0, 0.2, 0.29999998, 0.3, 0.5, 0.75, 0.99999994, 1]).tolist()
)
_ROWS = strategies.lists(
    strategies.tuples(strategies.integers(0, 3), _CONFIDENCES), min_size=1
)


def run(directory, rows, *, num_classes=4, ids=None, cuts=(), **options):
    """Select among (class, confidence) rows; return summary and copies."""
    source = os.path.join(directory, "predictions")
    target = os.path.join(directory, "selection")
    class_ids, confidences = zip(*rows, strict=True)
    synthetic.write_predictions(
        source,
        class_ids,
        confidences,
        num_classes=num_classes,
        ids=ids,
        cuts=cuts,
    )
    summary = select.select(
        predictions_directory=source,
        directory=target,
        selection=configs.SelectionConfig(**options),
        num_classes=num_classes,
        seed=_SEED,
    )
    return summary, synthetic.read_selection(target)


def reference(rows, ids, *, quota, threshold, max_copies):
    """The rule in ten lines: {id: copies}."""
    hashed = {
        purpose: ranks.hashes(ranks.id_words(ids), seed=_SEED, purpose=purpose)
        for purpose in ("ties", "copies")
    }
    copies = collections.Counter()
    for class_id in {row[0] for row in rows}:
        above = [
            i
            for i, (found, confidence) in enumerate(rows)
            if found == class_id
            and np.float32(confidence) >= np.float32(threshold)
        ]
        above.sort(key=lambda i: (-rows[i][1], hashed["ties"][i]))
        kept = sorted(above[:quota], key=lambda i: hashed["copies"][i])
        for turn in range(quota if kept else 0):
            chosen = kept[turn % len(kept)]
            if not max_copies or turn // len(kept) < max_copies:
                copies[ids[chosen].tobytes()] += 1
    return dict(copies)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    rows=_ROWS,
    quota=strategies.integers(1, 12),
    max_copies=strategies.integers(0, 3),
    num_cuts=strategies.integers(0, 3),
    seed=strategies.integers(0, 1000),
)
def test_selection_is_the_reference_s(rows, quota, max_copies, num_cuts, seed):
    generator = np.random.default_rng(seed)
    ids = synthetic.make_ids(len(rows))
    expected = reference(
        rows, ids, quota=quota, threshold=0.3, max_copies=max_copies
    )
    order = generator.permutation(len(rows))
    with tempfile.TemporaryDirectory() as directory:
        summary, copies = run(
            directory,
            [rows[i] for i in order],
            ids=ids[order],
            cuts=generator.integers(0, len(rows) + 1, num_cuts),
            images_per_class=quota,
            max_copies=max_copies,
        )
    assert copies == expected
    above = collections.Counter(c for c, p in rows if p >= 0.3)
    for entry in summary.classes:
        assert entry.num_above_threshold == above[entry.class_id]
        if above[entry.class_id] and not max_copies:
            assert entry.num_rows == quota
        assert (entry.num_selected == 0) == (above[entry.class_id] == 0)


@pytest.fixture
def tight_memory(monkeypatch):
    """Force many passes with small histograms and few candidates."""
    monkeypatch.setattr(cuts, "_HISTOGRAM_SIZE", 64)
    monkeypatch.setattr(cuts, "_MAX_CANDIDATES", 4)
    monkeypatch.setattr(parquet_files, "_ROWS_PER_BATCH", 100)


@pytest.mark.parametrize("quota", [1, 7, 100, 313, 1000])
def test_narrowing_over_many_passes_is_exact(tmp_path, tight_memory, quota):
    generator = np.random.default_rng(quota)
    confidences = generator.choice(
        np.append(generator.random(200), [1.0, 1.0, 0.3]), 1200
    ).astype(np.float32)
    rows = list(zip(generator.integers(0, 3, 1200), confidences, strict=True))
    _, copies = run(
        tmp_path, rows, num_classes=3, cuts=[500], images_per_class=quota
    )
    assert copies == reference(
        rows,
        synthetic.make_ids(1200),
        quota=quota,
        threshold=0.3,
        max_copies=0,
    )


def test_equal_confidences_are_cut_inside_the_tie(tmp_path, tight_memory):
    rows = [(0, 1.0)] * 500
    _, copies = run(tmp_path, rows, num_classes=1, images_per_class=123)
    ids = synthetic.make_ids(500)
    order = np.argsort(
        ranks.hashes(ranks.id_words(ids), seed=_SEED, purpose="ties")
    )
    assert set(copies) == {ids[i].tobytes() for i in order[:123]}


def test_rare_class_is_repeated_up_to_the_quota(tmp_path):
    rows = [(0, 0.9), (0, 0.8), (0, 0.7), (0, 0.1), (1, 0.6)]
    summary, copies = run(tmp_path, rows, num_classes=3, images_per_class=5)
    # Class 0: 5 = 2 + 2 + 1 over the images above 0.3; class 1: 5 copies.
    assert sorted(copies.values()) == [1, 2, 2, 5]
    assert [entry.num_rows for entry in summary.classes] == [5, 5, 0]
    assert [entry.num_selected for entry in summary.classes] == [3, 1, 0]
    assert summary.classes[0].cut_confidence == np.float32(0.7)
    assert summary.classes[2].cut_confidence is None
    assert any("class 2" in warning for warning in summary.warnings)


def test_no_upsampling_keeps_one_copy(tmp_path):
    rows = [(0, 0.9), (0, 0.8), (0, 0.7), (1, 0.6)]
    summary, copies = run(
        tmp_path, rows, num_classes=2, images_per_class=2, upsample=False
    )
    assert sorted(copies.values()) == [1, 1, 1]
    assert summary.classes[0].cut_confidence == np.float32(0.8)


def test_no_balancing_keeps_all_above_the_threshold(tmp_path):
    rows = [(0, 0.9), (0, 0.8), (0, 0.7), (0, 0.2), (1, 0.6)]
    _, copies = run(
        tmp_path, rows, num_classes=2, images_per_class=1, balance=False
    )
    assert sorted(copies.values()) == [1, 1, 1, 1]


def test_quota_0_is_the_mean_class_size_rounded_up(tmp_path):
    rows = [(0, 0.9)] * 4 + [(1, 0.1)]
    summary, _ = run(tmp_path, rows, num_classes=2, images_per_class=0)
    assert summary.images_per_class == 3
    assert summary.classes[0].num_rows == 3


def test_capped_copies_say_that_the_quota_is_out_of_reach(tmp_path):
    rows = [(0, 0.9), (0, 0.8)]
    summary, copies = run(
        tmp_path, rows, num_classes=1, images_per_class=9, max_copies=3
    )
    assert sorted(copies.values()) == [3, 3]
    assert any("cannot be reached" in text for text in summary.warnings)


def test_many_copies_and_implausible_shares_are_warned_of(tmp_path):
    summary, _ = run(tmp_path, [(0, 0.9)], num_classes=1, images_per_class=101)
    assert any("up to 101 copies" in text for text in summary.warnings)
    assert any("100.0%" in text for text in summary.warnings)


def _contents(directory):
    return {
        name: (directory / name).read_bytes() for name in os.listdir(directory)
    }


def test_killed_selection_ends_byte_identical(tmp_path):
    generator = np.random.default_rng(0)
    rows = list(
        zip(generator.integers(0, 3, 300), generator.random(300), strict=True)
    )
    run(tmp_path, rows, cuts=[100, 200], images_per_class=20)
    target = tmp_path / "selection"
    expected = _contents(target)
    os.remove(target / "manifest.json")
    os.remove(target / predictions.selection_name(1, 3))
    (target / "selection.parquet.temporary-0").write_text("half")
    run(tmp_path, rows, cuts=[100, 200], images_per_class=20)
    assert _contents(target) == expected


def test_finished_selection_is_returned_or_refused(tmp_path):
    rows = [(0, 0.9), (1, 0.6)]
    first, _ = run(tmp_path, rows, images_per_class=2)
    second, _ = run(tmp_path, rows, images_per_class=2)
    assert first == second
    with pytest.raises(ValueError, match="another \\['configuration'\\]"):
        run(tmp_path, rows, images_per_class=3)


def test_no_probabilities_leave_no_manifest(tmp_path):
    with pytest.raises(ValueError, match="a confidence is nan"):
        run(tmp_path, [(0, float("nan"))])
    assert not (tmp_path / "selection" / "manifest.json").exists()


def test_classes_without_a_single_image_select_nothing(tmp_path):
    summary, copies = run(tmp_path, [(0, 0.1), (1, 0.2)], num_classes=2)
    assert copies == {}
    assert summary.total("num_rows") == 0
    assert any("classes 0, 1" in warning for warning in summary.warnings)


def test_warnings_call_classes_by_their_names(tmp_path):
    run(tmp_path, [(0, 0.1), (1, 0.9)], num_classes=2)
    summary = select.select(
        predictions_directory=str(tmp_path / "predictions"),
        directory=str(tmp_path / "named"),
        selection=configs.SelectionConfig(),
        num_classes=2,
        seed=0,
        class_names=["cat", "dog"],
    )
    assert any("selected for class cat." in text for text in summary.warnings)


def test_published_rule_draws_copies_around_the_quota(tmp_path):
    generator = np.random.default_rng(0)
    # Class 0: 300 images for 100 rows; class 1: 40 for 100; class 2: none.
    rows = [(0, p) for p in generator.uniform(0.305, 1, 300)]
    rows += [(1, p) for p in generator.uniform(0.305, 1, 40)]
    rows += [(1, 0.299)] * 9
    options = {
        "num_classes": 3,
        "images_per_class": 100,
        "rule": "published_histogram",
    }
    summary, copies = run(tmp_path / "one", rows, **options)
    _, again = run(tmp_path / "cut", rows, cuts=[17, 200], **options)
    assert copies == again
    first, second, third = summary.classes
    assert (first.num_images, second.num_images) == (300, 49)
    assert second.num_above_threshold == second.num_selected == 40
    # 100 / 40: two or three copies of each.
    assert second.max_copies == 3
    # 20 of 40 drawn: standard deviation sqrt(40 / 4).
    assert abs(second.num_rows - 100) <= 4 * np.sqrt(10)
    # The grid's cut: at least the quota, at most one bin more.
    cut = first.cut_confidence
    above = sorted((p for c, p in rows if c == 0), reverse=True)
    assert above[99] < cut + 0.01
    assert first.max_copies == 1
    assert third.num_rows == 0
    assert any("class 2" in warning for warning in summary.warnings)


def test_published_rule_has_no_other_options():
    with pytest.raises(ValueError, match=r"--selection\.rule=published"):
        configs.SelectionConfig(rule="published_histogram", max_copies=3)


def test_predictions_of_another_number_of_classes_are_refused(tmp_path):
    run(tmp_path, [(0, 0.9)], num_classes=4)
    with pytest.raises(ValueError, match="probabilities of 4 classes, but 5"):
        select.select(
            predictions_directory=str(tmp_path / "predictions"),
            directory=str(tmp_path / "other"),
            selection=configs.SelectionConfig(),
            num_classes=5,
            seed=0,
        )


def test_a_missing_predictions_file_is_named(tmp_path):
    run(tmp_path, [(0, 0.9)] * 4, cuts=[2])
    os.remove(tmp_path / "predictions" / predictions.predictions_name(1, 2))
    with pytest.raises(FileNotFoundError, match=r"00001-of-00002.*is missing"):
        select.select(
            predictions_directory=str(tmp_path / "predictions"),
            directory=str(tmp_path / "other"),
            selection=configs.SelectionConfig(),
            num_classes=4,
            seed=0,
        )
