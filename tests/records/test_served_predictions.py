import datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from noisy_student_tf.records import served_predictions

NOON = datetime.datetime(2026, 5, 31, 12, tzinfo=datetime.UTC)


def make_row(content: bytes, **changes) -> served_predictions.Row:
    values = {
        "image_id": served_predictions.image_id(content),
        "time": NOON,
        "model": "0123abcd",
        "class_index": 2,
        "confidence": 0.5,
        "energy": -1.5,
        **changes,
    }
    return served_predictions.Row(**values)


def test_rows_of_several_files_are_read_in_the_order_of_time(tmp_path):
    later = NOON + datetime.timedelta(hours=1)
    first = [make_row(b"b", time=later, class_index=1)]
    second = [make_row(b"a"), make_row(b"c", model="other", confidence=0.25)]
    paths = {
        served_predictions.write(str(tmp_path / "log"), rows)
        for rows in (first, second)
    }
    assert len(paths) == 2
    found = served_predictions.read(str(tmp_path / "log"))
    assert found.ids.tobytes() == b"".join(
        map(served_predictions.image_id, (b"a", b"c", b"b"))
    )
    assert found.classes.tolist() == [2, 2, 1]
    assert found.confidences.tolist() == [0.5, 0.25, 0.5]
    assert found.energies.tolist() == [-1.5] * 3
    assert found.models.tolist() == ["0123abcd", "other", "0123abcd"]
    assert found.times[2] == np.datetime64("2026-05-31T13:00")


def test_a_picture_that_was_sent_again_counts_once(tmp_path):
    times = [NOON + datetime.timedelta(hours=hour) for hour in range(3)]
    rows = [
        make_row(content, time=time, class_index=index)
        for index, (content, time) in enumerate(
            zip((b"a", b"b", b"a"), times, strict=True)
        )
    ]
    served_predictions.write(str(tmp_path), rows)
    once = served_predictions.once_each(served_predictions.read(str(tmp_path)))
    assert once.classes.tolist() == [0, 1]


def test_an_empty_folder_is_named_with_the_flag(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--prediction_log="):
        served_predictions.read(str(tmp_path))


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "predictions-1.parquet"
    parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ValueError, match="has no column"):
        served_predictions.read(str(tmp_path))
    path.write_bytes(b"PAR1 half")
    with pytest.raises(ValueError, match="no readable Parquet file"):
        served_predictions.read(str(tmp_path))
