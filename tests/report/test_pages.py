import pytest

from noisy_student_tf.report import pages


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.04, "0.0"), (0.0, "0.0"), (-0.06, "\u22120.1"), (0.06, "+0.1")],
)
def test_what_is_rounded_to_zero_has_no_sign(value, text):
    assert pages.points(value) == text
