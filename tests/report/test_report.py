import re

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.report import (
    iterations,
    label_counts,
    pages,
    run_page,
    run_sections,
    svg_plots,
    thumbnails,
)
from tests.report import synthetic_run

NUM_CLASSES = 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = str(tmp_path_factory.mktemp("runs") / "digits")
    data = synthetic_run.write(workdir)
    page = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))
    return workdir, data, page


@pytest.fixture
def without_plots(monkeypatch):
    """Leave out what takes most of the time, where it is not looked at."""
    for name in (
        "curves",
        "confidence_histogram",
        "accuracy_by_threshold",
    ):
        monkeypatch.setattr(svg_plots, name, lambda *_, **__: "<svg></svg>")


def read_labels(workdir):
    return label_counts.read(
        workdirs.Workdir(workdir), 1, list(range(NUM_CLASSES))
    )


def test_the_page_says_what_was_won(finished):
    _, data, page = finished
    heading = re.sub(r"<[^>]+>", "", re.search(r"<h1>(.*?)</h1>", page)[1])

    points = 84.0 - 100 * data.accuracy
    assert heading == (
        f"Student 84.0\u202f% vs teacher {100 * data.accuracy:.1f}\u202f% "
        f"+{points:.1f} points"
    )
    assert "400 held-out test images" in page
    assert "40 labeled and 1,357 unlabeled images" in page


def test_the_page_needs_no_network(finished):
    page = finished[2]

    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page


def test_ids_on_the_page_are_unique(finished):
    ids = re.findall(r'\bid="([^"]*)"', finished[2])

    assert len(ids) == len(set(ids))


def test_plots_take_the_colors_of_the_page(finished):
    page = finished[2]

    assert "var(--wrong)" in page
    for color in svg_plots.COLORS.values():
        assert color not in page


def test_departures_from_the_preset_are_shown(finished):
    page = finished[2]

    assert "seed = <b>1</b></code> <small>was 0</small>" in page
    assert "confidence_threshold = <b>0.4</b></code> <small>was 0.6" in page
    assert "label_smoothing = <b>" not in page


def test_what_was_left_out_is_shown_and_escaped(finished):
    page = finished[2]

    assert "1 unreadable image, 2 identical to a labeled image" in page
    assert "3/broken &lt;b&gt;.png" in page
    assert "Class 8 has 31 images of a quota of 90." in page


def test_test_and_validation_images_are_kept_apart(finished):
    page = finished[2]
    test, validation = (
        page.index("Test images"),
        page.index("Validation images"),
    )

    assert page[test:validation].count("raw weights") == 0
    assert page[validation:].count('<tr class="raw">') == 3
    # Three models, and a comparison.
    assert page[test:validation].count('<tr><th scope="row">') == 4


def test_counts_and_accuracy_of_pseudo_labels(finished):
    workdir, data, _ = finished
    labels, selection = read_labels(workdir)
    class_ids = data.probabilities.argmax(1)
    is_right = class_ids == data.labels
    is_above = data.probabilities.max(1) >= synthetic_run.THRESHOLD
    copies = synthetic_run.select(data)

    np.testing.assert_array_equal(
        labels.predicted.images, np.bincount(class_ids, minlength=10)
    )
    np.testing.assert_array_equal(
        labels.above.images, np.bincount(class_ids[is_above], minlength=10)
    )
    assert labels.predicted.accuracy == is_right.mean()
    assert labels.above.accuracy == is_right[is_above].mean()
    assert selection.selected.accuracy == is_right[copies > 0].mean()
    assert selection.rows.sum() == copies.sum()
    assert labels.by_confidence.images.sum() == len(data.ids)
    assert labels.by_confidence.correct.sum() == is_right.sum()
    assert labels.confusion[8, 1] == sum((data.labels == 8) & (class_ids == 1))


def test_galleries_hold_the_extremes_and_the_wrong_ones(finished):
    workdir, data, _ = finished
    _, selection = read_labels(workdir)
    class_ids = data.probabilities.argmax(1)
    confidences = data.probabilities.max(1)
    rows = np.flatnonzero((synthetic_run.select(data) > 0) & (class_ids == 1))
    rows = rows[np.argsort(-confidences[rows])]
    count = label_counts.IMAGES_PER_GALLERY

    def ids(picks):
        return [pick.image_id for pick in picks]

    assert ids(selection.most_confident[1]) == [
        data.ids[row] for row in rows[:count]
    ]
    assert ids(selection.least_confident[1]) == [
        data.ids[row] for row in rows[::-1][:count]
    ]
    wrong = [row for row in rows if data.labels[row] != 1]
    assert ids(selection.wrong[1]) == [data.ids[row] for row in wrong[:count]]
    assert [pick.label for pick in selection.wrong[1]] == [
        data.labels[row] for row in wrong[:count]
    ]


def test_thumbnails_are_found_by_id(finished):
    workdir, data, page = finished
    _, selection = read_labels(workdir)
    picks = selection.picks()

    found = thumbnails.read(
        f"{workdir}/unlabeled", [pick.place for pick in picks]
    )

    assert found.keys() == {pick.image_id for pick in picks}
    row = data.ids.index(picks[0].image_id)
    expected = thumbnails.make(synthetic_run.to_png(data.images[row]))
    assert found[picks[0].image_id] == expected
    assert expected in page


def test_shards_read_for_thumbnails_are_limited(finished, monkeypatch):
    workdir, _, _ = finished
    _, selection = read_labels(workdir)
    picks = selection.picks()
    monkeypatch.setattr(thumbnails, "MAX_SHARDS_READ", 1)

    found = thumbnails.read(
        f"{workdir}/unlabeled", [pick.place for pick in picks]
    )

    shards_read = {p.shard_index for p in picks if p.image_id in found}
    assert len(shards_read) == 1
    assert 0 < len(found) < len(picks)


def test_an_unreadable_picture_has_no_thumbnail():
    assert thumbnails.make(b"no picture") is None


def test_a_large_photo_becomes_small():
    photo = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)

    uri = thumbnails.make(synthetic_run.to_png(photo))

    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 10_000


def test_unknown_labels_are_left_out(tmp_path, without_plots):
    workdir = str(tmp_path / "run")
    synthetic_run.write(workdir, with_truth=False)

    page = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))

    labels, selection = read_labels(workdir)
    assert labels.predicted.accuracy is None
    assert not any(selection.wrong.values())
    assert "Confusion matrix" not in page
    assert "most confident" in page
    assert "<h5>wrong</h5>" not in page


def test_many_classes_are_capped(tmp_path, without_plots):
    workdir = str(tmp_path / "run")
    synthetic_run.write(workdir, class_names=[f"name {i}" for i in range(900)])

    page = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))

    assert "20 of 900 classes, evenly spaced" in page
    assert "Most frequent confusions" in page
    assert page.count('<div class="gallery"><h4>') == 20
    assert iterations.shown_classes(900)[0] == 0
    assert iterations.shown_classes(900)[-1] == 899
    assert iterations.shown_classes(3) == [0, 1, 2]


def test_every_stage_can_be_reported_on(tmp_path, without_plots):
    """The report grows with the run, and a second student has its part."""
    workdir = str(tmp_path / "run")
    synthetic_run.write_config(workdir)
    first = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))
    data = synthetic_run.write(workdir, iterations=2)
    files.remove(f"{workdir}/selection_2")
    files.remove(f"{workdir}/results.json")
    second = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))
    synthetic_run.write_selection(workdir, data, 2)
    synthetic_run.write_results(workdir, data.accuracy, 2)
    third = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))

    assert "No student has been evaluated yet" in first
    assert "What was run" in first
    assert "Pseudo-labels, iteration 2" in second
    assert second.count("With copies") == 1
    assert "Student 1 labeled the unlabeled images" in second
    assert "Student 2 86.0" in third
    assert third.count("With copies") == 2


def test_a_run_in_memory(finished, without_plots):
    """Everything goes through `files`: remote paths work."""
    workdir = "ram://report-test/digits"
    synthetic_run.write(workdir)

    path = run_page.write_report(workdirs.Workdir(workdir))

    assert path == f"{workdir}/report.html"
    page = files.read_text(path)
    assert page.count("<img") == finished[2].count("<img") > 100


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        run_page.write_report(workdirs.Workdir(str(tmp_path)))


def test_the_last_line_of_a_repeated_step_counts(tmp_path):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "metrics.jsonl").write_text(
        '{"kind": "train", "step": 10, "loss": 3.0}\n'
        '{"kind": "train", "step": 20, "loss": 9.0}\n'
        '{"kind": "train", "step": 20, "loss": 2.0}\n'
    )

    metrics = run_sections.read_metrics(workdirs.Workdir(str(tmp_path)))

    assert [line["loss"] for line in metrics["teacher"]] == [3.0, 2.0]


def test_models_are_ordered_and_named():
    names = ["student_10", "student_2_fixres", "student_2", "supervised"]
    names.append("teacher")

    ordered = sorted(names, key=run_sections.model_order)

    assert ordered == [
        "teacher",
        "supervised",
        "student_2",
        "student_2_fixres",
        "student_10",
    ]
    assert run_sections.model_title("supervised") == "Supervised baseline"
    assert run_sections.model_kind("supervised") == "supervised"
    assert run_sections.model_title("student_2_fixres") == "Student 2, FixRes"


@pytest.mark.parametrize(
    ("confidence", "shown"),
    [
        (np.float32(0.5999), "0.59"),
        (np.float32(0.6), "0.60"),
        (0.29, "0.29"),
        (np.float32(1.0), "1.00"),
        (np.float32(1e-9), "0.00"),
    ],
)
def test_confidences_below_a_threshold_do_not_seem_to_reach_it(
    confidence, shown
):
    assert pages._confidence(confidence, 2) == shown
