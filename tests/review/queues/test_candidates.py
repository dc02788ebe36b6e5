import numpy as np
import pytest

from noisy_student_tf import recipes, workdirs
from noisy_student_tf.review.queues import candidates
from tests.review import small_run

PICTURES = small_run.Pictures([f"{number}.png" for number in range(8)])
# Margins 0.1, 0.2, ... of the first two classes.
FIRST = np.array(
    [[0.5 + n / 20, 0.5 - n / 20, 0] for n in range(1, 9)], np.float32
)
SECOND = np.array(FIRST)
SECOND[[1, 6]] = FIRST[[1, 6]][:, ::-1]
SELECTED = np.array([0, 1, 1, 1, 0, 1, 0, 1], bool)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = small_run.write(
        str(tmp_path_factory.mktemp("run")),
        {"unlabeled": PICTURES, "train": small_run.Pictures(["7.png"], [0])},
        **{"self_training.num_iterations": 2},
    )
    small_run.write_predictions(workdir, 1, PICTURES, FIRST)
    small_run.write_selection(workdir, 1, PICTURES, FIRST, SELECTED)
    small_run.write_predictions(workdir, 2, PICTURES, SECOND)
    recipe = recipes.of(workdirs.read_config(workdir))
    return workdir, candidates.predicted(recipe, workdir)


def keys(ids):
    by_id = dict(zip(PICTURES.ids(), PICTURES.keys, strict=True))
    return [by_id[each.tobytes()] for each in ids]


def test_the_smallest_are_kept_whatever_the_order():
    random = np.random.default_rng(0)
    values = random.permutation(1000)
    kept = candidates.Smallest(3)
    for part in np.split(values, 50):
        kept.add(part, part * 2)
    assert [each.tolist() for each in kept.rows()] == [[0, 1, 2], [0, 2, 4]]


def test_margins():
    rows = np.array([[0.2, 0.5, 0.3], [1, 0, 0]], np.float16)
    np.testing.assert_allclose(candidates.margins(rows), [0.2, 1], atol=1e-3)
    assert candidates.margins(np.ones([2, 1])).tolist() == [1, 1]


def test_uncertain_images_and_a_sample(run):
    workdir, (labeling, _) = run
    found = candidates.unsure(workdir, labeling, count=3)
    assert keys(found.uncertain) == ["0.png", "1.png", "2.png"]
    expected = sorted(PICTURES.ids())[:3]
    assert [each.tobytes() for each in found.sample] == expected
    # Never more than half of all are uncertain.
    assert len(candidates.unsure(workdir, labeling, count=8).uncertain) == 4


def test_selected_images_of_low_confidence(run):
    workdir, (labeling, _) = run
    found = candidates.least_sure_selected(workdir, labeling, count=3)
    assert keys(found.ids) == ["1.png", "2.png", "3.png"]
    assert found.labels.tolist() == [0, 0, 0]


def test_what_the_next_teacher_labels_otherwise(run):
    workdir, (first, second) = run
    found = candidates.contradicted(workdir, first, second, count=5)
    # The seventh changed, too, but was not selected. The second one's best
    # class is the third now.
    assert keys(found.ids) == ["1.png"]
    assert found.labels.tolist() == [0]
    np.testing.assert_allclose(found.probabilities, SECOND[[1]], atol=1e-3)
