"""Set TensorFlow up for the tests, before anything touches a device."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# As the scripts do: their results are compared bit for bit with those here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import types

import pytest

# Several processes begin with these, so that none has one left at the end.
LONGEST_FIRST = (
    "tests/test_self_training.py",
    "tests/training/test_loop.py",
    "tests/training/test_step.py",
    "tests/stages/test_labels.py",
    "tests/serving/test_saved_model.py",
    "tests/pipeline/test_train_stream.py",
)


def pytest_configure(config):
    """Make devices in the processes that run tests.

    The one that only deals them out to others is spared the import of
    TensorFlow, which takes seconds.
    """
    if config.getoption("dist", "no") == "no":
        import tensorflow as tf

        # Several replicas on one CPU; a test of one device takes the first.
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 4,
        )


def pytest_collection_modifyitems(items):
    """Let the longest files begin."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(
        key=lambda item: ranks.get(item.nodeid.split("::")[0], len(ranks))
    )


@pytest.fixture(autouse=True, scope="module")
def keras_names_afresh():
    """Close what other test files left open.

    A Keras model that builds itself in its first call leaves its name scope
    open, and variables made later carry its name in their paths.
    """
    import keras

    keras.utils.clear_session()


@pytest.fixture(scope="session")
def small_export(tmp_path_factory):
    """Write a SavedModel; return its `directory` and the `model` it is of."""
    from tests.serving import small_exports

    directory = str(tmp_path_factory.mktemp("export") / "saved_model")
    model = small_exports.make_model()
    small_exports.write(model, directory)
    return types.SimpleNamespace(directory=directory, model=model)
