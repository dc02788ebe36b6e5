"""Set TensorFlow up for the tests, before anything touches a device."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# As the scripts do: their results are compared bit for bit with those here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import types

import keras
import pytest

from noisy_student_tf import runtime
from tests.serving import small_exports

# Several replicas on one CPU; a test that needs one device takes the first.
runtime.make_logical_cpus(4)


@pytest.fixture(autouse=True, scope="module")
def keras_names_afresh():
    """Close what other test files left open.

    A Keras model that builds itself in its first call leaves its name scope
    open, and variables made later carry its name in their paths.
    """
    keras.utils.clear_session()


@pytest.fixture(scope="session")
def small_export(tmp_path_factory):
    """Write a SavedModel; return its `directory` and the `model` it is of."""
    directory = str(tmp_path_factory.mktemp("export") / "saved_model")
    model = small_exports.make_model()
    small_exports.write(model, directory)
    return types.SimpleNamespace(directory=directory, model=model)
