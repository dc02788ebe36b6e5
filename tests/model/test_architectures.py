import numpy as np
import pytest

from noisy_student_tf.model import architectures
from tests.model import small_specs

SPEC = small_specs.make_spec(num_classes=2)


@pytest.mark.parametrize(
    # 320 features, 2 classes: the facts' 0.408 is 1 / sqrt(2 * 3).
    "name, deviation",
    [("published", 0.408), ("fan_in", (320 * 3) ** -0.5), ("zeros", 0.0)],
)
def test_deviation_of_each_initializer(name, deviation):
    model = architectures.build(SPEC)
    model.classifier.bias.assign([1.0, 2.0])
    architectures.initialize(model, name, seed=1)
    found = np.std(model.classifier.kernel)
    assert found == pytest.approx(deviation, rel=0.1)
    assert not model.classifier.bias.numpy().any()
