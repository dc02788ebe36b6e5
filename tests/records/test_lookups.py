import numpy as np

from noisy_student_tf.records import lookups, schema


def test_truth_is_looked_up_by_id():
    ids = np.array([b"b" * 16, b"d" * 16], "S16")
    truth = lookups.Lookup(ids, np.array([4, 7]), schema.NO_LABEL)
    wanted = np.frombuffer(b"d" * 16 + b"a" * 16 + b"z" * 16 + b"b" * 16, "u1")

    labels = truth.of(wanted.reshape(4, 16))

    assert labels.tolist() == [7, schema.NO_LABEL, schema.NO_LABEL, 4]


def test_a_missing_file_knows_nothing(tmp_path):
    nothing = lookups.read(
        str(tmp_path / "no.parquet"), "copies", dtype=np.int32, unknown=0
    )

    assert nothing.of(np.zeros((2, 16), np.uint8)).tolist() == [0, 0]
