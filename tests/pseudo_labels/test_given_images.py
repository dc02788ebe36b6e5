import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from noisy_student_tf.pseudo_labels import given, given_images
from noisy_student_tf.records import schema

ROWS = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
PATHS = ["a.png", "b.png", "c.png"]


def index(source, *paths):
    return {
        "image_id": pa.array(
            [schema.make_id(source, path) for path in paths], pa.binary(16)
        ),
        "key": pa.array(paths, pa.string()),
        "label": pa.array([1] * len(paths), pa.int64()),
    }


@pytest.fixture
def table(tmp_path):
    path = str(tmp_path / "mine.parquet")
    parquet.write_table(
        pa.table({"path": PATHS, "probabilities": ROWS.tolist()}), path
    )
    return given.read(path, class_names=["cat", "dog"])


def test_shards_are_labeled_by_rows_wherever_they_stand(table, tmp_path):
    paths = {}
    for name, part in (
        ("x", index("s", "c.png", "z.png", "a.png")),
        ("y", index("s")),
    ):
        paths[name] = str(tmp_path / name)
        parquet.write_table(pa.table(part), paths[name])
    missing = given_images.missing(table, paths["x"])
    assert missing == {schema.make_id("s", "z.png")}

    label = given_images.labels_of(table, paths)
    first, second = label(["x", "y"], lambda place: missing)

    assert (first.place, second.place) == (0, 1)
    assert [each.tobytes() for each in first.rows.ids] == [
        schema.make_id("s", "c.png"),
        schema.make_id("s", "a.png"),
    ]
    assert first.rows.class_ids.tolist() == [1, 0]
    assert first.rows.confidences.tolist() == [1.0, 0.75]
    assert first.probabilities.dtype == np.float16
    assert first.probabilities.tolist() == [[0, 1], [0.75, 0.25]]
    assert second.probabilities.shape == (0, 2)


def test_coverage_counts_what_is_missing_and_what_is_unknown(table, caplog):
    coverage = given_images.cover(
        table,
        {
            "test": [index("s", "b.png")],
            "unlabeled": [index("s", "a.png", "z")],
        },
    )
    assert coverage.rows["test"].tolist() == [1]
    assert coverage.rows["unlabeled"].tolist() == [0, -1]
    assert coverage.unknown == ["c.png"]
    given_images.say(table, coverage)
    assert "no row of 1 of the 2 unlabeled images" in caplog.text
    assert "1 rows of no image of this run: c.png" in caplog.text


def test_a_table_of_other_images_is_refused_with_what_it_names(table):
    coverage = given_images.cover(table, {"unlabeled": [index("s", "z")]})
    with pytest.raises(ValueError, match=r"none of its 3 rows .* a.png, b.png"):
        given_images.say(table, coverage)


def test_a_path_of_two_sources_is_refused(table):
    both = {
        "train": [index("s", "a.png")],
        "unlabeled": [index("t", "a.png", "b.png")],
    }
    with pytest.raises(ValueError, match=r"1 paths name several.*: a\.png"):
        given_images.cover(table, both)


def test_answers_keep_the_order_of_the_images(table):
    rows = given_images.answers(
        table, np.array([2, 0]), [index("s", "c.png"), index("s", "a.png")]
    )
    assert rows.labels.tolist() == [1, 1]
    assert rows.ids[1].tobytes() == schema.make_id("s", "a.png")
    np.testing.assert_allclose(np.exp(rows.logits), ROWS[[2, 0]], atol=1e-6)
