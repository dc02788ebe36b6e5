import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def bfloat16_kernels():
    """Let a test compute in bfloat16 where TensorFlow can.

    TensorFlow chooses these kernels by what the processor has. Where oneDNN is
    told to use less of it (ONEDNN_MAX_CPU_ISA), it refuses them.
    """
    images, kernel = (
        tf.zeros(shape, tf.bfloat16) for shape in ([1, 4, 4, 8], [3, 3, 8, 8])
    )
    try:
        tf.nn.conv2d(images, kernel, 1, "SAME")
    except tf.errors.AbortedError:
        pytest.skip("oneDNN was told to use less than TensorFlow relies on")
