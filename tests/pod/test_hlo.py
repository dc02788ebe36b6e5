import pytest
import tensorflow as tf

from tests.pod import hlo

IMAGES = tf.zeros([4, 8, 8, 3])
KERNEL = tf.zeros([3, 3, 3, 5])
TRANSPOSED = tf.zeros([3, 3, 5, 3])
DEPTHWISE = tf.zeros([3, 3, 3, 1])


def test_clean_programs_have_no_problem():
    assert hlo.problems(hlo.lower(lambda x: x * x, IMAGES)) == []


def test_float64_is_seen():
    program = hlo.lower(
        lambda x: tf.cast(tf.cast(x, tf.float64) / 3, tf.float32), IMAGES
    )
    assert hlo.problems(program) == ["numbers of 64 bits"]


def test_a_dynamic_shape_is_seen():
    program = hlo.lower(lambda x: tf.reduce_sum(tf.where(x > 1)), IMAGES)
    assert "a shape that data decides" in hlo.problems(program)


def test_a_python_function_is_refused():
    with pytest.raises(ValueError, match="EagerPyFunc"):
        hlo.lower(
            lambda x: tf.py_function(lambda y: y + 1, [x], tf.float32), IMAGES
        )


def test_large_gathers_are_seen():
    program = hlo.lower(lambda x: tf.gather(x, [3, 0, 1]), IMAGES)
    assert hlo.largest(program, "gather") == 3 * 8 * 8 * 3
    assert hlo.largest(program, "convolution") == 0


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"), 4 * 16 * 5 * 27),
        # Of the zeros between the numbers of its input none counts.
        (
            lambda x: tf.nn.conv2d_transpose(
                x[:, :4, :4], TRANSPOSED, [4, 8, 8, 5], 2
            ),
            4 * 16 * 5 * 27,
        ),
        (
            lambda x: tf.nn.depthwise_conv2d(
                x, DEPTHWISE, [1, 1, 1, 1], "SAME"
            ),
            4 * 64 * 3 * 9,
        ),
        (lambda x: x @ tf.zeros([3, 7]), 4 * 64 * 3 * 7),
    ],
    ids=["convolution", "transposed", "depthwise", "matrix"],
)
def test_multiply_adds_are_those_worked_out_by_hand(function, expected):
    assert hlo.multiply_adds(hlo.lower(function, IMAGES)) == expected
