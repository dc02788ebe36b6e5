import keras
import pytest
import tensorflow as tf

from noisy_student_tf import config, config_tree, runtime


def test_auto_is_one_device_without_gpus():
    strategy = runtime.make_strategy(config.RuntimeConfig())
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.num_replicas_in_sync == 1


@pytest.mark.parametrize("num_devices, replicas", [(0, 4), (1, 1), (2, 2)])
def test_mirrored_takes_the_devices_asked_for(num_devices, replicas):
    strategy = runtime.make_strategy(
        config.RuntimeConfig(strategy="mirrored", num_devices=num_devices)
    )
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == replicas


def test_more_devices_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="num_devices=5: this machine has 4"):
        runtime.make_strategy(
            config.RuntimeConfig(strategy="mirrored", num_devices=5)
        )


def test_multi_worker_without_a_cluster_is_an_error(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG is not set"):
        runtime.make_strategy(config.RuntimeConfig(strategy="multi_worker"))


def test_no_tpu_is_an_error():
    with pytest.raises(ValueError, match="tpu_address=local: no TPU answers"):
        runtime.make_strategy(config.RuntimeConfig(strategy="tpu"))


def test_precision_is_the_policy_of_new_layers():
    configuration = config_tree.override(
        config.Config(), {"runtime.precision": "mixed_bfloat16"}
    )
    try:
        runtime.configure(configuration)
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    finally:
        runtime.configure(config.Config())
    assert keras.layers.Dense(1).compute_dtype == "float32"
