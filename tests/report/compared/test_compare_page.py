import re

import pytest

from noisy_student_tf import files
from noisy_student_tf.records import shards
from noisy_student_tf.report.compared import compare_page
from tests.report.compared import small_runs
from tests.review import small_run

CAT, DOG, OWL = small_runs.CAT, small_runs.DOG, small_runs.OWL
RIGHT = small_runs.RIGHT
# Wrong in the first three, and in the first two.
POOR = [DOG, OWL, CAT, *RIGHT[3:]]
BETTER = [DOG, OWL, *RIGHT[2:]]


@pytest.fixture
def roots(tmp_path):
    """Return two runs; the second one has more labels."""
    first, second = f"{tmp_path}/first", f"{tmp_path}/second"
    models = {"teacher": POOR, "student_1": POOR}
    one = small_runs.write(first, models)
    models = {"teacher": POOR, "student_1": BETTER}
    other = small_runs.write(second, models, num_labeled=9, seed=7)
    for workdir, best in ((one, 0.6), (other, 0.7)):
        small_runs.write_curves(workdir, "student_1", [0.3, best])
    return [first, second]


def write(roots, tmp_path, num_pictures=5):
    found = compare_page.compare(roots)
    path = f"{tmp_path}/compare.html"
    compare_page.write(path, found, num_pictures=num_pictures)
    return files.read_text(path)


def test_the_table_says_who_is_better_and_what_differs(roots):
    text = compare_page.describe(compare_page.compare(roots))

    assert re.search(r"first/student_1 +tiny +test .* 62\.50", text)
    assert re.search(r"second/student_1 +tiny +test .* 75\.00", text)
    assert "seed: 0 | 7" in text
    assert "optimizer" not in text
    assert (
        "second/student_1 against first/student_1, 8 test images: no "
        "difference shown: +12.5 points" in text
    )
    # Models of one name are compared, too.
    assert "second/teacher against first/teacher, 8 test" in text


def test_the_page_shows_differences_curves_and_labels(roots, tmp_path):
    page = write(roots, tmp_path)

    heading = re.sub(r"<[^>]+>", "", re.search(r"<h1>(.*?)</h1>", page)[1])
    assert heading == "first 62.5\u202f% vs second 75.0\u202f%"
    assert "<code>seed</code></th><td><code>0</code></td><td><code>7<" in page
    assert "Student 1: validation accuracy" in page
    assert "Test accuracy over labeled images" in page
    assert "second: Student 1" in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_pictures_that_one_has_right_are_shown(roots, tmp_path):
    page = write(roots, tmp_path)

    # The third one: an owl by its name, which is escaped.
    (caption,) = re.findall(r"<figcaption>([^<]*)<br>not (\w+)", page)
    assert caption == (
        "old, &#34;gray&#34; &lt;b&gt;owl&lt;/b&gt;",
        "cat",
    )
    assert page.count('src="data:image/png;base64,') == 1
    assert 'src="data:' not in write(roots, tmp_path, num_pictures=0)


def test_pictures_are_bounded(tmp_path):
    wrong = [DOG] * 8
    roots = [f"{tmp_path}/a", f"{tmp_path}/b"]
    small_runs.write(roots[0], {"teacher": wrong})
    small_runs.write(roots[1], {"teacher": RIGHT})

    page = write(roots, tmp_path, num_pictures=2)

    assert page.count('src="data:') == 2
    assert "5 images, 2 of them here" in page


def test_common_images_alone_are_compared(roots, tmp_path):
    keys = [*small_runs.TEST.keys[:5], "other/1.png"]
    test = small_run.Pictures(keys, [*small_runs.LABELS[:5], CAT])
    third = f"{tmp_path}/third"
    chosen = [*RIGHT[:5], CAT]
    small_runs.write(third, {"teacher": chosen}, test=test)

    found = compare_page.compare([roots[0], third])

    assert not [e for e in found.obstacles if "in common" in e]
    assert {row["num_images"] for row in found.rows} == {5}
    row = found.rows[0]
    assert (row["num_right_alone"], row["difference"]) == (3, 3 / 5)


def test_no_common_images_is_said(roots, tmp_path):
    other = small_run.Pictures(["x.png", "y.png"], [CAT, DOG])
    third = f"{tmp_path}/third"
    small_runs.write(third, {"teacher": [CAT, DOG]}, test=other)

    found = compare_page.compare([roots[0], third])

    assert found.rows == []
    assert any("no held-out image in common" in e for e in found.obstacles)
    assert "no held-out image in common" in write([roots[0], third], tmp_path)


def test_other_classes_are_said(roots):
    directory = f"{roots[1]}/labeled"
    manifest = shards.read_manifest(directory) | {"class_names": ["x", "y"]}
    files.remove(f"{directory}/{shards.MANIFEST}")
    shards.write_manifest(directory, manifest)

    found = compare_page.compare(roots)

    assert found.rows == []
    assert any(
        "has other classes than first (x, y;" in e for e in found.obstacles
    )


def test_an_unfinished_run_is_said(roots, tmp_path):
    third = f"{tmp_path}/third"
    small_runs.write(third, {"teacher": RIGHT})

    found = compare_page.compare([roots[0], third])

    assert "third is unfinished: Student 1 is not made yet." in found.obstacles


def test_what_is_no_run_is_named(roots, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match="pictures is no run"):
        compare_page.compare([roots[0], f"{tmp_path}/pictures"])
    files.remove(f"{roots[1]}/results.json")
    with pytest.raises(FileNotFoundError, match="Go on with it: python"):
        compare_page.compare(roots)


def test_two_runs_are_needed_each_once(roots):
    with pytest.raises(ValueError, match="two or more"):
        compare_page.compare(roots[:1])
    with pytest.raises(ValueError, match="named twice"):
        compare_page.compare([roots[0], f"{roots[0]}/"])


def test_runs_of_one_name_are_told_apart(tmp_path):
    roots = [f"{tmp_path}/a/run", f"{tmp_path}/b/run"]
    for root in roots:
        small_runs.write(root, {"teacher": RIGHT})

    found = compare_page.compare(roots)

    assert [run.name for run in found.runs] == ["a/run", "b/run"]
