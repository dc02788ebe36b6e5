import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.training import variable_files


def parts(*values):
    return {"model": [tf.Variable(v) for v in values], "optimizer": []}


def test_variables_are_read_by_part_and_place(tmp_path):
    prefix = str(tmp_path / "state")
    written = parts([1.0, 2.0], np.int64(3))
    written["optimizer"] = [tf.Variable(4.0)]
    variable_files.write(prefix, written)
    read = {"model": parts([0.0, 0.0], np.int64(0))["model"]}
    variable_files.read(prefix, read)
    np.testing.assert_array_equal(read["model"][0], [1.0, 2.0])
    assert read["model"][1].numpy() == 3


@pytest.mark.parametrize(
    "others",
    [
        ([0.0, 0.0, 0.0], np.int64(0)),  # of another shape
        ([0.0, 0.0], 0.0),  # of another type
        ([0.0, 0.0],),
        ([0.0, 0.0], np.int64(0), 0.0),
    ],
)
def test_other_variables_are_refused_and_left_alone(tmp_path, others):
    prefix = str(tmp_path / "state")
    variable_files.write(prefix, parts([1.0, 2.0], np.int64(3)))
    read = parts(*others)
    with pytest.raises(ValueError, match="1 variables differ: model/0000"):
        variable_files.read(prefix, read)
    assert not np.any(read["model"][0])


def test_files_that_cannot_be_read_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        variable_files.read(str(tmp_path / "state"), parts(0.0))
