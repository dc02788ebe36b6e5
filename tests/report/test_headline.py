import dataclasses
import re

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.records import shards
from noisy_student_tf.report import headline, run_page, run_sections, svg_plots
from tests.report import synthetic_run

HALVES = np.repeat([0, 1], 40)
LEARNED = metrics.standing(HALVES, HALVES)
ONE_CLASS = metrics.standing(HALVES, np.zeros_like(HALVES))


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A finished run; plots are left out, which take most of the time."""
    for name in ("curves", "confidence_histogram", "accuracy_by_threshold"):
        monkeypatch.setattr(svg_plots, name, lambda *_, **__: "<svg></svg>")
    root = str(tmp_path / "run")
    synthetic_run.write(root)
    return workdirs.Workdir(root)


def change_results(workdir, change):
    rows = files.read_json(workdir.results)
    files.write_json(workdir.results, change(rows))


def write_page(workdir):
    return files.read_text(run_page.write_report(workdir))


def heading(page):
    return re.sub(r"<[^>]+>", "", re.search(r"<h1>(.*?)</h1>", page)[1])


def write_standing(workdir, name, standing):
    files.make_directories(workdir.folder(name))
    shards.write_manifest(
        workdir.folder(name),
        {"standing": {"validation": dataclasses.asdict(standing)}},
    )


def test_the_last_student_is_compared_on_the_test_images(workdir):
    rows = run_sections.read_results(workdir)

    found = headline.compare(rows, headline.read_comparisons(workdir))

    assert found["student"]["model"] == "student_1"
    assert found["baseline"]["model"] == "teacher"
    assert found["student"]["split"] == "test"
    assert found["comparison"]["split"] == "test"
    validation = [row for row in rows if row["split"] == "validation"]
    without_test = headline.compare(validation)
    assert without_test["student"]["weights"] == "ema"
    assert without_test["comparison"] is None
    assert headline.compare(rows[:1]) is None


def test_a_gain_is_announced_with_its_interval(workdir):
    page = write_page(workdir)

    assert heading(page).endswith("points")
    assert "95 % interval +3.0 to +15.0 (McNemar" in page
    assert "s p &lt; 0.001)" in page
    assert "The baseline is the first teacher" in page
    assert "+0.085 <small>+0.021 to +0.151</small>" in page


def test_no_difference_is_announced_where_zero_is_within(workdir):
    def contain_zero(rows):
        return [
            row | {"interval_95": [-0.01, 0.11], "p_value": 0.12}
            if "measure" in row
            else row
            for row in rows
        ]

    change_results(workdir, contain_zero)
    page = write_page(workdir)

    assert heading(page).endswith("no difference shown")
    assert "images show no difference between student_1 and teacher" in page
    assert "<td>not shown</td>" in page


def test_without_a_comparison_no_gain_is_announced(workdir):
    change_results(
        workdir, lambda rows: [row for row in rows if "measure" not in row]
    )
    page = write_page(workdir)

    assert "points" not in heading(page)
    assert "not compared image by image" in page


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("teacher", "teacher has not learned"),
        ("student_1", "student 1 has not learned"),
    ],
)
def test_a_gain_over_one_class_for_everything_is_none(workdir, model, expected):
    write_standing(workdir, "teacher", LEARNED)
    write_standing(workdir, "student_1", LEARNED)
    assert heading(write_page(workdir)).endswith("points")

    write_standing(workdir, model, ONE_CLASS)
    page = write_page(workdir)

    assert heading(page).endswith(expected)
    assert "not significantly better than naming one class" in page


def test_the_supervised_baseline_takes_the_teachers_place(workdir):
    def add(rows):
        plain = [row for row in rows if row["model"] == "teacher"]
        (comparison,) = (row for row in rows if "measure" in row)
        return [
            *rows,
            *(row | {"model": "supervised", "accuracy": 0.83} for row in plain),
            comparison
            | {
                "baseline": "supervised",
                "difference": 0.01,
                "interval_95": [-0.02, 0.04],
                "p_value": 0.6,
            },
        ]

    change_results(workdir, add)
    page = write_page(workdir)

    assert heading(page) == (
        "Student 84.0\u202f% vs supervised baseline 83.0\u202f% "
        "no difference shown"
    )
    assert "The baseline is the same network trained on the labeled" in page
    assert '<span class="dot supervised"></span>Supervised baseline' in page


def test_the_exported_model_and_the_reason_are_named(workdir):
    files.make_directories(workdir.export)
    shards.write_manifest(
        workdir.export,
        {"model": "teacher", "reason": "the best on validation images"},
    )

    page = write_page(workdir)

    assert "Exported is Teacher: the best on validation images." in page


def test_a_loss_has_a_minus():
    row = {"title": "Student 1", "model": "student_1"}
    lost = {
        "difference": -0.031,
        "interval_95": [-0.05, -0.01],
        "p_value": 0.01,
    }
    found = {"student": row, "baseline": row, "comparison": lost}

    assert headline.verdict(found, {}) == "\u22123.1 points"
