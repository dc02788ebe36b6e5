import numpy as np
import pyarrow as pa
import pytest

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files

_COLUMNS = pa.schema(
    [("id", pa.binary(2)), ("row", pa.list_(pa.float16(), 3))],
    metadata={"made_by": "test"},
)
_IDS = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)
_LISTS = np.arange(9, dtype=np.float16).reshape(3, 3)


def write(path):
    table = pa.table(
        [
            parquet_files.fixed_bytes_array(_IDS),
            parquet_files.fixed_lists_array(_LISTS),
        ],
        schema=_COLUMNS,
    )
    with parquet_files.open_writer(path, _COLUMNS) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("is_remote", [False, True])
def test_fixed_size_columns_come_back(tmp_path, is_remote):
    path = "ram://parquet/a.parquet" if is_remote else f"{tmp_path}/a.parquet"
    write(path)
    assert parquet_files.read_metadata(path) == {"made_by": "test"}
    with parquet_files.open_reader(path) as reader:
        # The second batch starts inside the column.
        ids, lists = [], []
        for batch in reader.iter_batches(batch_size=2):
            ids.append(parquet_files.fixed_bytes(batch.column(0)))
            lists.append(parquet_files.fixed_lists(batch.column(1)))
    np.testing.assert_array_equal(np.concatenate(ids), _IDS)
    np.testing.assert_array_equal(np.concatenate(lists), _LISTS)


def test_sliced_columns_keep_their_rows():
    ids = parquet_files.fixed_bytes_array(_IDS)[1:]
    lists = parquet_files.fixed_lists_array(_LISTS)[1:]
    np.testing.assert_array_equal(parquet_files.fixed_bytes(ids), _IDS[1:])
    np.testing.assert_array_equal(parquet_files.fixed_lists(lists), _LISTS[1:])


def test_failed_writing_leaves_nothing(tmp_path):
    path = str(tmp_path / "a.parquet")
    with pytest.raises(RuntimeError):
        with parquet_files.open_writer(path, _COLUMNS):
            raise RuntimeError("killed")
    assert files.list_directory(str(tmp_path)) == []


def test_damaged_file_is_named(tmp_path):
    path = str(tmp_path / "a.parquet")
    write(path)
    files.write_bytes(path, files.read_bytes(path)[:-10])
    with pytest.raises(ValueError, match=r"a\.parquet is no readable Parquet"):
        parquet_files.read_metadata(path)


def test_strings_of_varying_length_are_refused():
    with pytest.raises(ValueError, match="accepted is fixed_size_binary"):
        parquet_files.fixed_bytes(pa.array([b"a", b"bc"]))


@pytest.mark.parametrize("num_rows", [0, 2])
def test_columns_of_a_whole_file_come_back_as_arrays(tmp_path, num_rows):
    path = str(tmp_path / "a.parquet")
    ids = parquet_files.fixed_bytes_array(_IDS[:num_rows])
    table = pa.table(
        {"id": ids, "n": np.arange(num_rows)}, metadata={"made_by": "me"}
    )
    parquet_files.write_table(path, table)

    columns = parquet_files.read_columns(path, ["n", "id"])

    assert list(columns) == ["n", "id"]
    assert columns["n"].to_pylist() == list(range(num_rows))
    stored = parquet_files.fixed_bytes(columns["id"])
    np.testing.assert_array_equal(stored, _IDS[:num_rows])
    assert parquet_files.read_table(path).equals(table, check_metadata=True)


def test_a_missing_column_is_named(tmp_path):
    path = str(tmp_path / "a.parquet")
    parquet_files.write_table(path, pa.table({"n": [1]}))
    with pytest.raises(
        ValueError, match=r"no column \['label'\], only \['n'\]"
    ):
        parquet_files.read_columns(path, ["n", "label"])
