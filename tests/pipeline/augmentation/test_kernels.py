import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline.augmentation import augment, kernels
from tests.pipeline.augmentation import test_operations

NUM_IMAGES = 32
POLICY = configs.PolicyConfig(
    crop="pad",
    pad_pixels=3,
    extra_cutout_pixels=4,
    num_ops=1,
    magnitude=5.0,
    translate_pixels=4.0,
    cutout_pixels=4.0,
)


@pytest.fixture
def as_traced(monkeypatch):
    """Have no XLA for the host, as TensorFlow's build for TPUs has none."""
    monkeypatch.setattr(kernels, "can_compile", lambda: False)


@pytest.mark.parametrize("case", test_operations.CASES)
def test_pixels_without_xla_are_the_published_ones(case, as_traced):
    test_operations.test_operations_equal_the_published_ones_pixel_by_pixel(
        case
    )


def test_noise_without_xla_is_the_same_within_a_pipeline(monkeypatch):
    # A pipeline's graphs are rewritten by TensorFlow before they run.
    images = np.random.default_rng(4).integers(
        0, 256, (NUM_IMAGES, 24, 24, 3), np.uint8
    )
    first = tf.constant(0, tf.int64)
    draws = augment.draw(POLICY, seed=3, first_position=first, count=NUM_IMAGES)

    def noised():
        rows = tf.data.Dataset.from_tensors((images, draws))
        made = rows.map(lambda *row: augment.noise(row[0], POLICY, row[1]))
        return made.get_single_element().numpy()

    at_first = noised()
    monkeypatch.setattr(kernels, "can_compile", lambda: False)
    np.testing.assert_array_equal(noised(), at_first)
    assert not (at_first == images).all(axis=(1, 2, 3)).any()


def test_a_host_that_xla_does_not_know_is_told_once(monkeypatch, caplog):
    def without_xla(function, **options):
        assert options["jit_compile"]

        def call(*arguments):
            raise tf.errors.NotFoundError(
                None, None, "could not find registered transfer manager"
            )

        return call

    monkeypatch.setattr(kernels.tf, "function", without_xla)
    probe = kernels.can_compile.__wrapped__
    assert not probe()
    assert "transfer manager" in caplog.text
