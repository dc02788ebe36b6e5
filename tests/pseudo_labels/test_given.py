import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from noisy_student_tf.pseudo_labels import given
from noisy_student_tf.records import schema

CLASSES = ("cat", "dog", "owl")
ROWS = [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.1, 0.1, 0.8]]
PATHS = ["a.png", "b/c.png", "d.png"]
IDS = [schema.make_id("folder", path) for path in PATHS]


def write(path, /, **columns):
    parquet.write_table(pa.table(columns), path)
    return str(path)


def read(path, **options):
    return given.read(str(path), class_names=CLASSES, **options)


@pytest.fixture
def by_path(tmp_path):
    return write(tmp_path / "mine.parquet", path=PATHS, probabilities=ROWS)


def index(ids, keys):
    return {
        "image_id": pa.array(ids, pa.binary(16)),
        "key": pa.array(keys, pa.string()),
    }


def test_rows_are_found_by_path_and_by_id_in_any_form(tmp_path, by_path):
    asked = index([*IDS[::-1], bytes(16)], [*PATHS[::-1], "other.png"])
    hexadecimal = [each.hex() for each in IDS]
    fixed = pa.array(IDS, pa.binary(16))
    for number, columns in enumerate(
        ({"path": PATHS}, {"image_id": hexadecimal}, {"image_id": fixed})
    ):
        path = tmp_path / f"{number}.parquet"
        table = read(write(path, **columns, probabilities=ROWS))
        assert table.rows_of(asked).tolist() == [2, 1, 0, -1]
    np.testing.assert_allclose(table.probabilities, ROWS, rtol=1e-6)
    assert table.names.to_pylist() == hexadecimal
    assert read(by_path).names.to_pylist() == PATHS


def test_a_column_for_each_class_is_taken_by_name(tmp_path):
    columns = np.array(ROWS).T
    path = write(
        tmp_path / "wide.parquet",
        owl=columns[2],
        path=["./a.png", *PATHS[1:]],
        cat=columns[0],
        dog=columns[1],
        note=["x"] * 3,
    )
    table = read(path)
    np.testing.assert_allclose(table.probabilities, ROWS, rtol=1e-6)
    assert table.names.to_pylist() == PATHS


def test_predictions_of_several_shards_are_one_table(tmp_path):
    for number in range(2):
        write(
            tmp_path / f"part-{number}.parquet",
            image_id=pa.array(IDS[number : number + 1], pa.binary(16)),
            probabilities=pa.FixedSizeListArray.from_arrays(
                pa.array(np.float16(ROWS[number])), 3
            ),
        )
    table = read(tmp_path / "part-*.parquet")
    assert len(table.names) == 2
    np.testing.assert_allclose(table.probabilities, ROWS[:2], atol=1e-3)


def test_a_temperature_of_a_half_squares_and_renormalizes(by_path):
    table = read(by_path, temperature=0.5)
    # 0.49, 0.04 and 0.01 of 0.54.
    np.testing.assert_allclose(
        table.probabilities[0], [0.49 / 0.54, 0.04 / 0.54, 0.01 / 0.54], 1e-5
    )
    np.testing.assert_allclose(table.probabilities[1], [0, 0.5, 0.5], atol=1e-6)
    assert table.fingerprint != read(by_path).fingerprint


@pytest.mark.parametrize(
    "columns, message",
    [
        (
            {"path": PATHS, "probabilities": [[4.0, -2.0, 0.5]] * 3},
            "3 of 3 rows reach from -2 to 4: these look like logits.*softmax",
        ),
        (
            {"path": PATHS, "probabilities": [[0.5, 0.2, 0.2], *ROWS[1:]]},
            "1 of 3 rows do not sum to 1, the first one to 0.9.*a.png",
        ),
        (
            {"path": PATHS, "probabilities": [[float("nan")] * 3, *ROWS[1:]]},
            "1 of 3 rows are not finite",
        ),
        (
            {"path": PATHS, "probabilities": [[0.5, 0.5]] * 3},
            r"lists of \[2\].*have 3 classes, in this order: cat, dog, owl",
        ),
        (
            {"path": ["a.png", "b.png", "a.png"], "probabilities": ROWS},
            "1 images have several rows: a.png",
        ),
        ({"path": PATHS, "cat": [0.5] * 3, "dog": [0.5] * 3}, "classes: owl"),
        ({"file": PATHS, "probabilities": ROWS}, "columns file, prob.*'path'"),
        ({"path": [None, *PATHS[1:]], "probabilities": ROWS}, "1 rows without"),
        (
            {"image_id": PATHS, "probabilities": ROWS},
            "image_id 'a.png'; accepted are 16 bytes or 32 hex",
        ),
        (
            {"path": [], "probabilities": pa.array([], pa.list_(pa.float32()))},
            "there is no row",
        ),
    ],
)
def test_what_cannot_label_is_named_with_its_mend(tmp_path, columns, message):
    path = write(tmp_path / "mine.parquet", **columns)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert "--self_training.teacher_predictions" in str(error.value)
    assert "mine.parquet" in str(error.value)


def test_missing_and_foreign_files_are_named(tmp_path, by_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.parquet: no file"):
        read(tmp_path / "nothing.parquet")
    (tmp_path / "mine.csv").write_text("path,cat\n")
    with pytest.raises(ValueError, match=r"mine\.csv is no Parquet file"):
        read(tmp_path / "mine.csv")
    write(
        tmp_path / "mine2.parquet",
        image_id=[each.hex() for each in IDS],
        probabilities=ROWS,
    )
    with pytest.raises(ValueError, match="Use one of both"):
        read(tmp_path / "mine*.parquet")


def test_a_look_reads_no_more_than_the_first_rows(tmp_path):
    path = write(
        tmp_path / "mine.parquet",
        path=PATHS,
        probabilities=[*ROWS[:2], [9.0, 9.0, 9.0]],
    )
    assert len(read(path, max_rows=2).names) == 2
    with pytest.raises(ValueError, match="logits"):
        read(path)
