import os

import pyarrow as pa
import pytest

from noisy_student_tf.records import parquet_files, predictions, shards
from tests.pseudo_labels import synthetic


def write_rows(path, columns, **values):
    table = pa.table(list(values.values()), schema=columns)
    with parquet_files.open_writer(path, columns) as writer:
        writer.write_table(table)


def read_rows(path):
    return list(predictions.read_rows(str(path), num_classes=4))


def test_rows_come_back(tmp_path):
    synthetic.write_predictions(tmp_path, [2, 0], [0.25, 0.5], num_classes=4)
    (rows,) = read_rows(tmp_path / predictions.predictions_name(0, 1))
    assert rows.class_ids.tolist() == [2, 0]
    assert rows.confidences.tolist() == [0.25, 0.5]
    assert rows.ids.tolist() == synthetic.make_ids(2).tolist()


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(float("nan"), "nan"), (1.5, "1.5"), (-0.5, "-0.5")],
)
def test_what_is_no_probability_is_refused(tmp_path, confidence, text):
    synthetic.write_predictions(tmp_path, [0], [confidence], num_classes=4)
    with pytest.raises(ValueError, match=f"a confidence is {text}"):
        read_rows(tmp_path / predictions.predictions_name(0, 1))


def test_class_out_of_range_is_refused(tmp_path):
    path = str(tmp_path / "rows.parquet")
    write_rows(
        path,
        predictions.selection_schema(),
        ids=[b"0" * 16],
        classes=[4],
        confidences=[0.5],
        copies=[1],
    )
    with pytest.raises(ValueError, match=r"accepted is \[0, 4\)"):
        read_rows(path)


def test_ids_of_another_size_and_missing_columns_are_refused(tmp_path):
    path = str(tmp_path / "rows.parquet")
    columns = [("class_id", pa.int32()), ("confidence", pa.float32())]
    write_rows(path, pa.schema(columns), classes=[1], confidences=[0.5])
    with pytest.raises(ValueError, match=r"no column \['image_id'\]"):
        read_rows(path)
    columns.append(("image_id", pa.binary(8)))
    write_rows(
        path, pa.schema(columns), c=[1], confidences=[0.5], ids=[b"0" * 8]
    )
    with pytest.raises(ValueError, match=r"fixed_size_binary\[16\]"):
        read_rows(path)


def test_manifest_is_compared_with_the_files(tmp_path):
    synthetic.write_predictions(
        tmp_path, [0, 1], [0.9, 0.6], num_classes=4, cuts=[1]
    )
    directory = str(tmp_path)
    name = predictions.predictions_name(1, 2)
    with pytest.raises(ValueError, match="4 classes, but 7 are configured"):
        predictions.read_manifest(directory, num_classes=7)
    os.replace(tmp_path / predictions.predictions_name(0, 2), tmp_path / name)
    with pytest.raises(FileNotFoundError, match="is missing"):
        predictions.read_manifest(directory, num_classes=4)
    manifest = shards.read_manifest(directory)
    manifest |= {"shards": [name], "num_images_per_shard": [2]}
    shards.write_manifest(directory, manifest)
    with pytest.raises(ValueError, match="has 1 rows, but its manifest says"):
        predictions.read_manifest(directory, num_classes=4)
    manifest |= {"num_images_per_shard": [1], predictions.TEACHER: "another"}
    shards.write_manifest(directory, manifest)
    with pytest.raises(ValueError, match="made by the teacher 'abc'"):
        predictions.read_manifest(directory, num_classes=4)
