import re

import pytest

from noisy_student_tf import files
from noisy_student_tf.report import pages
from noisy_student_tf.report.compared import compared_runs, lineage
from tests.report.compared import small_runs

CAT, DOG, OWL = small_runs.CAT, small_runs.DOG, small_runs.OWL
RIGHT = small_runs.RIGHT


@pytest.fixture
def line(tmp_path):
    """Return three runs, each on corrections of the one before."""
    made = []
    for number, num_wrong in enumerate((5, 3, 1)):
        chosen = [(label + 1) % 3 for label in RIGHT[:num_wrong]]
        overrides = {}
        if made:
            # Decisions on earlier runs go on to hold.
            said = ",".join(each.corrections for each in made)
            overrides = {"data.corrections": said}
        made.append(
            small_runs.write(
                f"{tmp_path}/run_{number}",
                {"teacher": [*chosen, *RIGHT[num_wrong:]]},
                num_labeled=6 + 3 * number,
                **overrides,
            )
        )
    for workdir in made[1:]:
        small_runs.write_answers(workdir, {})
    return made


def test_a_run_follows_the_one_whose_corrections_it_took(line):
    found = lineage.trace(line[2])

    assert [run.name for run in found] == ["run_2", "run_1", "run_0"]
    assert [run.name for run in lineage.trace(line[0])] == ["run_0"]


def test_what_corrections_gave_is_told(line):
    section = lineage.read(line[1])

    given = section["given"]
    assert (given["before"], given["after"]) == (3 / 8, 5 / 8)
    assert given["difference"] == pytest.approx(2 / 8)
    low, high = given["interval_95"]
    assert low <= 2 / 8 <= high
    assert section["corrected"] is None
    assert section["answers"]["num_new"] == 3
    assert section["plot"] is not None


def test_people_s_labels_of_held_out_images_give_a_second_number(line):
    keys = small_runs.TEST.keys
    # The first is what the model said, the last is none of the classes.
    small_runs.write_answers(
        line[2], {keys[0]: "dog", keys[7]: None, keys[3]: "cat"}
    )
    section = lineage.read(line[2])

    assert section["given"]["after"] == 7 / 8
    corrected = section["corrected"]
    assert corrected["num_changed"] == 2
    assert corrected["num_images"] == 7
    assert corrected["after"] == 1.0
    assert corrected["before"] == pytest.approx(5 / 7)

    page = pages.render("report_corrections.html", lineage=section)
    text = re.sub(r"<[^>]+>", "", page)
    assert "With the labels that these images always had" in text
    assert "labels of 2 of them, which training never saw" in text
    assert "62.5\u202f% before and 87.5\u202f% after" in text


def test_a_run_without_a_run_before_has_no_section(line, tmp_path):
    assert lineage.read(line[0]) is None
    elsewhere = small_runs.write(
        f"{tmp_path}/alone",
        {"teacher": RIGHT},
        **{"data.corrections": f"{tmp_path}/ann.jsonl"},
    )
    assert lineage.read(elsewhere) is None


def test_no_common_images_is_said(line):
    files.remove(f"{line[0].teacher}/held_out_test.parquet")
    section = lineage.read(line[1])

    assert section["given"] is None
    page = pages.render("report_corrections.html", lineage=section)
    assert "no held-out image in common" in page


def test_a_run_before_of_another_version_is_left_out(line):
    config = files.read_json(line[0].config)
    files.write_json(line[0].config, config | {"magic": {}})

    assert lineage.read(line[1]) is None
    with pytest.raises(ValueError, match="Unknown field magic"):
        compared_runs.read(line[0].root, "run_0")
