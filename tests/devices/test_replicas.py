import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.devices import replicas, runtime
from noisy_student_tf.evaluation import adversarial
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.stages import classifiers
from tests import strategies

SIDE = 4


def numbered(count):
    return tf.reshape(tf.range(float(count)), [count, 1, 1, 1])


def test_replicas_take_their_part_and_the_order_stays():
    sizes = []

    def compute(part):
        sizes.append(part.shape[0])
        return tf.reshape(part, [-1, 1])

    spread = tf.function(replicas.spread(compute, strategies.mirrored(2)))
    np.testing.assert_array_equal(spread(numbered(8))[:, 0], range(8))
    assert set(sizes) == {4}


def test_a_batch_that_does_not_divide_is_padded_and_cut_again():
    spread = tf.function(
        replicas.spread(
            lambda a, b: tf.reshape(a - b, [-1, 1]), strategies.mirrored(2)
        )
    )
    found = spread(numbered(7), 10 * numbered(7))
    np.testing.assert_array_equal(found[:, 0], -9.0 * np.arange(7))


def test_one_device_calls_the_function_itself():
    compute = tf.identity
    for strategy in (None, strategies.mirrored(1)):
        assert replicas.spread(compute, strategy) is compute


def test_a_batch_of_unknown_size_is_told():
    spread = tf.function(
        replicas.spread(tf.identity, strategies.mirrored(2)),
        input_signature=[tf.TensorSpec([None, 2])],
    )
    with pytest.raises(ValueError, match=r"batches of a known size.*None, 2"):
        spread(tf.zeros([4, 2]))


def linear_subject(monkeypatch, strategy):
    """Return a classifier whose logits are the images times a variable."""
    weights = np.random.default_rng(0).normal(size=[SIDE * SIDE * 3, 5])

    def load(path, **_):
        kernel = tf.Variable(weights.astype(np.float32))

        def model(images, training):
            flat = tf.reshape(images, [-1, SIDE * SIDE * 3])
            return tf.matmul(flat, kernel)

        return model, make_spec()

    monkeypatch.setattr(saved, "load", load)
    monkeypatch.setattr(classifiers.files, "exists", lambda path: True)
    return classifiers.load("model", resolution=SIDE, strategy=strategy)


def make_spec():
    return architectures.make_spec(
        configs.ModelConfig(resolution=SIDE * 2), num_classes=5, class_names=()
    )


def test_two_replicas_measure_and_attack_as_one(monkeypatch):
    draw = np.random.default_rng(1)
    images = draw.uniform(0, 255, [7, SIDE, SIDE, 3]).astype(np.float32)
    labels = tf.constant(draw.integers(0, 5, 7), tf.int32)
    one, two = (
        linear_subject(monkeypatch, strategies.mirrored(count))
        for count in (1, 2)
    )
    np.testing.assert_allclose(
        one.logits_fn(images), two.logits_fn(images), rtol=1e-5, atol=1e-3
    )
    assert one.gradient_sign is None
    expected = adversarial.make_gradient_sign(one.logits_fn)(images, labels)
    np.testing.assert_array_equal(two.gradient_sign(images, labels), expected)
    assert {-1.0, 1.0} <= set(np.unique(expected))


def test_hosts_divide_their_own_rows(monkeypatch):
    # Two hosts of two replicas each, whose parts do not divide.
    monkeypatch.setattr(
        runtime, "other_hosts", lambda strategy: ("/cpu:0", "/cpu:2")
    )
    sizes = set()

    def compute(rows):
        sizes.add(rows.shape[0])
        return tf.reshape(rows, [-1, 1])

    spread = tf.function(replicas.spread(compute, strategies.mirrored(4)))
    found = spread((numbered(3), 10 + numbered(3)))
    np.testing.assert_array_equal(found[:, 0], [0, 1, 2, 10, 11, 12])
    assert sizes == {2}


def test_one_process_of_one_keeps_its_strategy():
    strategy = strategies.mirrored(2)
    assert runtime.own_strategy(strategy) is strategy


def test_a_stream_is_made_once_for_a_host():
    made = []

    def make_stream(**arguments):
        made.append(arguments)
        return tf.data.Dataset.range(3)

    once = replicas.made_once(make_stream)
    first = replicas.stream_of_host(once, start_step=0, host=0, num_hosts=1)
    again = replicas.stream_of_host(once, start_step=0, host=0, num_hosts=1)
    assert again is first
    # Another host's lies there.
    with tf.device("/cpu:1"):
        other = replicas.stream_of_host(once, start_step=0, host=0, num_hosts=1)
    assert other is not first
    replicas.stream_of_host(once, start_step=0, host=2, num_hosts=4)
    assert made == [
        {"start_step": 0},
        {"start_step": 0},
        {"start_step": 0, "input_pipelines": 4, "input_pipeline_index": 2},
    ]
