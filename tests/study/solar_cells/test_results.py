import pytest

from study import measures, run_records, tables
from study.solar_cells import protocol, results
from tests.study import fakes

STUDY = protocol.STUDIES[0]


def row(model, accuracy, macro_f1, auroc):
    return {
        **fakes.row_of_test(model, accuracy),
        "macro_f1": macro_f1,
        "auroc": auroc,
    }


def record(arm, seed, rows):
    return {
        "arm": f"{arm}_40",
        "seed": seed,
        "models": {
            "teacher": {"num_parameters": 3_000_000, "total_steps": 400}
        },
        "pseudo_labels": [],
        "results": rows,
    }


def records(num_draws):
    """Draws of unequal difficulty: differences are the same in all of them."""
    found = []
    for draw, seed in enumerate(STUDY.seeds[:num_draws]):
        ease = 0.02 * draw
        baseline = row("teacher", 0.70 + ease, 0.65 + ease, 0.80 + ease)
        student = row("student_2", 0.75 + ease, 0.66 + ease, 0.84 + ease)
        frozen = row("teacher", 0.71 + ease, 0.66 + ease, 0.81 + ease)
        found += [
            record(
                "supervised",
                seed,
                [baseline, corruptions("teacher", 0.4)],
            ),
            record(
                "noisy_student",
                seed,
                [student, corruptions("student_2", 0.3)],
            ),
            record("frozen_features", seed, [frozen]),
        ]
    return found


def corruptions(model, error):
    rows = fakes.robustness_rows(model, error=error, flips=0.1, attacked=0.1)
    return rows[0]


def measured(num_draws):
    return measures.Measurements(records(num_draws), STUDY.baseline)


def line_of(table, *parts):
    return next(
        line
        for line in table.splitlines()
        if all(part in line for part in parts)
    )


def test_models_show_means_over_draws_with_their_steps():
    table = results.of_models(STUDY, measured(3))
    line = line_of(table, "supervised fine-tuning")
    assert "| 3.00 M | 400 | 3 of 5 |" in line
    # Means of 70, 72, 74; of 65, 67, 69; of 80, 82, 84: t 4.303, s.d. 2.
    assert "**72.00** (67.03 to 76.97)" in line
    assert "**67.00**" in line
    assert "**82.00**" in line
    assert tables.OPEN in line_of(table, "larger student")


def test_differences_are_of_the_same_draw():
    table = results.of_differences(STUDY, measured(3))
    line = line_of(table, "Noisy Student, student 2")
    assert "**+5.00** (+5.00 to +5.00)" in line
    assert "**+1.00** (+1.00 to +1.00)" in line
    assert "supervised fine-tuning" not in table


def test_bars_are_open_until_all_draws_are_there():
    table = results.of_bars(protocol.BARS, STUDY, measured(4))
    assert table.count(f"| {tables.OPEN} |") == 3
    table = results.of_bars(protocol.BARS, STUDY, measured(5))
    assert "+4.0, +4.0" in line_of(table, "AUROC", "| met |")
    assert "**+1.00**" in line_of(table, "macro-F1", "| missed |")
    assert "**+4.00**" in line_of(table, "logistic regression", "| missed |")


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([3.0, 3.1, 3.2], "met"),
        ([2.8, 2.9, 3.0], "missed"),
        # Enough in the mean, but another draw could say otherwise.
        ([0.0, 0.0, 12.0], "missed"),
        ([9.0, 9.0], "open"),
    ],
)
def test_a_bar_needs_its_mean_and_an_interval_above_zero(differences, verdict):
    assert results.judge(3.0, differences, num_draws=3) == verdict


def test_corruptions_are_relative_to_supervised_fine_tuning():
    table = results.of_corruptions(STUDY, measured(2))
    assert "**75.00**" in line_of(table, "Noisy Student, student 2")
    assert "**100.00**" in line_of(table, "supervised fine-tuning")
    assert "larger student" not in table


def test_the_document_has_a_place_for_every_table(tmp_path):
    text = (fakes.ROOT / protocol.EXPERIMENT.document).read_text()
    path = tmp_path / "study.md"
    path.write_text(text)
    folder = str(tmp_path / "records")
    for each in records(5):
        run_records.write(folder, each)
    results.rewrite(str(path), folder)
    # 75, 77, 79, 81 and 83.
    assert "**79.00**" in path.read_text()
    path.write_text(text.replace("<!-- table: bars -->", ""))
    with pytest.raises(ValueError, match="no place for the table 'bars'"):
        results.rewrite(str(path), folder)
