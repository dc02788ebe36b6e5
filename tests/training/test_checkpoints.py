import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.training import checkpoints

MODEL = [np.float32([1, 2]), np.array(3)]


def variables(*values):
    return {"model": [tf.Variable(value) for value in values]}


def test_variables_are_read_by_part_and_place(tmp_path):
    prefix = str(tmp_path / "state")
    checkpoints.write_variables(
        prefix, {"model": MODEL, "optimizer": [np.float32(4)]}
    )
    read = variables([0.0, 0.0], np.int64(0))
    checkpoints.read_variables(prefix, read)
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
    checkpoints.write_variables(prefix, {"model": MODEL})
    read = variables(*others)
    with pytest.raises(ValueError, match="1 variables differ: model/0000"):
        checkpoints.read_variables(prefix, read)
    assert not np.any(read["model"][0])


def test_files_that_cannot_be_read_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoints.read_variables(str(tmp_path / "state"), variables(0.0))
