import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.evaluation import evaluate


def make_stream(labels, batch_size):
    """Images whose first pixel is their number; the last batch is padded."""
    num_padded = -len(labels) % batch_size
    numbers = np.arange(len(labels) + num_padded, dtype=np.float32)
    return tf.data.Dataset.from_tensor_slices(
        {
            "images": np.tile(numbers[:, None, None, None], (1, 2, 2, 3)),
            "labels": np.array(labels + [-1] * num_padded, np.int32),
            "image_ids": [b"id %d" % number for number in numbers],
            "is_valid": np.array([True] * len(labels) + [False] * num_padded),
        }
    ).batch(batch_size, drop_remainder=True)


def parity(images):
    """Logits of "even" and "odd"."""
    is_odd = images[:, 0, 0, 0] % 2
    return tf.stack([1 - is_odd, is_odd], axis=1)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
def test_every_valid_image_counts_once(batch_size):
    stream = make_stream([0, 1, 0, 1, 1, 1, 1], batch_size)
    result = evaluate.evaluate(parity, stream, 2)
    # Right are 0, 1, 2, 3 and 5.
    assert result["num_images"] == 7
    assert result["accuracy"] == 5 / 7
    assert result["per_class_accuracy"] == [1.0, 3 / 5]


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="returns 2 logits per image, but 3"):
        evaluate.evaluate(parity, make_stream([0, 1], 2), 3)


def test_what_is_said_of_valid_images_is_kept():
    kept = []
    evaluate.evaluate(
        parity,
        make_stream([0, 1, 1], 2),
        2,
        keep=lambda *batch: kept.append(
            [np.asarray(x).tolist() for x in batch]
        ),
    )
    assert kept == [
        [[[1, 0], [0, 1]], [0, 1], [b"id 0", b"id 1"]],
        [[[1, 0]], [1], [b"id 2"]],
    ]
