"""One process drives another, which has neither our package nor our objects.

What a TPU's hosts have beside it is in docs/tpu.md.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.records import shards
from tests.pipeline import conftest as pictures
from tests.pod import coordinator, test_tpu_trace
from tests.training import test_workers, tiny

# A bare server, in a folder and with a path that do not have our package.
SERVER = """
import sys
import tensorflow as tf
server = tf.distribute.Server(
    {"worker": [sys.argv[1]]}, job_name="worker", task_index=0
)
print("listening", flush=True)
server.join()
"""


def write_shards(directory):
    records = [pictures.make_record(i, i // 10) for i in range(40)]
    paths = pictures.write_shards(directory, records, 4, "train")
    split = shards.split_manifest(
        paths=list(paths), num_records=40, schema="image", num_classes=4
    )
    shards.write_manifest(str(directory), {"splits": {"train": split}})


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """Return the folder of a finished rehearsal, and what it said."""
    directory = tmp_path_factory.mktemp("pod")
    write_shards(directory)
    (port,) = test_workers.free_ports(1)
    address = f"localhost:{port}"
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", SERVER, address],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout.readline() == b"listening\n"
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "tests.pod.coordinator"),
                *(address, str(directory)),
            ],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=400,
        )
    finally:
        server.kill()
        server.wait()
    assert finished.returncode == 0, finished.stderr[-3000:]
    return directory, json.loads(finished.stdout.splitlines()[-1])


def test_all_variables_and_streams_of_a_run_are_the_hosts(driven):
    said = driven[1]
    assert said["step"] == 4
    assert said["variables_on"] == [coordinator.HOST]
    # The picture of the first batch is the coordinator's, whose stream is not
    # the one that is trained from, here and after the restart.
    _, *trained_from = said["streams_made_on"]
    assert trained_from == [coordinator.HOST] * 2


def test_a_run_on_the_host_ends_as_one_at_home(driven, tmp_path):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    alone = coordinator.train(str(tmp_path), strategy, total_steps=4)
    expected = [
        weight
        for model in (alone.model, alone.ema_model)
        for weight in tiny.weights_of(model)
    ]
    with np.load(driven[0] / "weights.npz") as arrays:
        assert len(arrays) == len(expected)
        for name, array in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(arrays[name], array)


def test_batches_are_read_and_noised_on_the_host(driven):
    directory, said = driven
    assert said["batches_on"] == [coordinator.HOST]
    with np.load(directory / "batches.npz") as arrays:
        for name, size in zip(arrays, (0, 1), strict=True):
            stream = coordinator.read_stream(
                str(directory), cache_megabytes=size
            )
            expected = next(iter(stream))["labeled_images"]
            np.testing.assert_array_equal(arrays[name], expected)


def operations_of(stream):
    """Return the operations of a dataset and of the functions it maps."""
    text = tf.raw_ops.DatasetToGraphV2(input_dataset=stream._variant_tensor)
    graph = tf.compat.v1.GraphDef.FromString(text.numpy())
    return set(test_tpu_trace.num_nodes(graph))


PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


@pytest.mark.parametrize("cache_megabytes", [0, 1])
def test_streams_call_no_python(tmp_path, cache_megabytes):
    # It would run in the coordinator's process, for every host's images.
    write_shards(tmp_path)
    stream = coordinator.read_stream(
        str(tmp_path), cache_megabytes=cache_megabytes
    )
    operations = operations_of(stream)
    assert "DecodeImage" in operations or "DecodePng" in operations
    assert not operations & PYTHON


def test_a_python_function_would_be_seen():
    stream = tf.data.Dataset.range(3).map(
        lambda value: tf.py_function(lambda x: x + 1, [value], tf.int64)
    )
    assert operations_of(stream) & PYTHON
