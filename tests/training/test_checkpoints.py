import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.training import checkpoints
from tests import strategies

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


def test_hosts_read_by_themselves_and_replicas_take_all_in_one_call(
    tmp_path, monkeypatch
):
    strategy = strategies.mirrored(2)
    prefix = str(tmp_path / "state")
    values = [np.float32([index, 2]) for index in range(20)]
    checkpoints.write_variables(
        prefix, {"model": values, "optimizer": [np.array(3)]}
    )
    with strategy.scope():
        read = {
            "model": [tf.Variable([0.0, 0.0]) for _ in values],
            "optimizer": [tf.Variable(np.array(0))],
        }
    restored = []
    restore = tf.raw_ops.RestoreV2
    monkeypatch.setattr(
        tf.raw_ops,
        "RestoreV2",
        lambda **options: restored.append(options) or restore(**options),
    )
    traced = []
    assign = tf.raw_ops.AssignVariableOp
    monkeypatch.setattr(
        tf.raw_ops,
        "AssignVariableOp",
        lambda **options: traced.append(options) or assign(**options),
    )
    checkpoints.read_variables(prefix, read, hosts=["/cpu:0"])
    # Both replicas are on one host; the function is traced for the first.
    assert len(restored) == 1
    assert len(traced) == 21
    for variable, value in zip(read["model"], values, strict=True):
        for part in variable.values:
            np.testing.assert_array_equal(part, value)
    assert [int(part) for part in read["optimizer"][0].values] == [3, 3]
