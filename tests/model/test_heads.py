import dataclasses

import numpy as np
import pytest

from noisy_student_tf.model import efficientnet, heads
from tests.model import small_specs

SPEC = small_specs.make_spec(num_classes=2)


@pytest.mark.parametrize(
    # 320 features, 2 classes: the facts' 0.408 is 1 / sqrt(2 * 3).
    "name, deviation",
    [("published", 0.408), ("fan_in", (320 * 3) ** -0.5), ("zeros", 0.0)],
)
def test_deviation_of_each_initializer(name, deviation):
    model = efficientnet.build(SPEC)
    model.classifier.bias.assign([1.0, 2.0])
    heads.initialize(model, name, seed=1)
    found = np.std(model.classifier.kernel)
    assert found == pytest.approx(deviation, rel=0.1)
    assert not model.classifier.bias.numpy().any()


def test_body_is_taken_and_another_head_is_kept():
    source = efficientnet.build(small_specs.make_spec(num_classes=3), seed=1)
    model = efficientnet.build(SPEC, seed=2)
    kernel = model.classifier.kernel.numpy()
    heads.copy_weights(model, source)
    np.testing.assert_array_equal(model.classifier.kernel, kernel)
    np.testing.assert_array_equal(
        model.blocks[-1].project_conv.kernel,
        source.blocks[-1].project_conv.kernel,
    )


def test_head_is_taken_where_the_classes_are_the_same():
    source, model = (efficientnet.build(SPEC, seed=seed) for seed in (1, 2))
    heads.copy_weights(model, source)
    for mine, theirs in zip(model.variables, source.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_other_names_are_other_classes():
    named = dataclasses.replace(SPEC, class_names=("cat", "dog"))
    others = dataclasses.replace(SPEC, class_names=("dog", "cat"))
    assert heads.can_keep_head(named, SPEC)
    assert heads.can_keep_head(named, named)
    assert not heads.can_keep_head(named, others)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 0.5}, "--model.width=0.5"),
        ({"depth": 0.6}, "--model.depth=0.6"),
        ({"mean_rgb": (1.0, 2.0, 3.0)}, "--model.mean_rgb=1,2,3"),
    ],
)
def test_what_does_not_fit_is_told_with_the_flags(changes, message):
    with pytest.raises(ValueError, match=message):
        heads.check_same_body(
            SPEC, dataclasses.replace(SPEC, **changes), flag="--flag=x"
        )


def test_resolution_strides_and_classes_may_differ():
    other = dataclasses.replace(
        SPEC, resolution=99, small_image_strides=True, num_classes=9
    )
    heads.check_same_body(SPEC, other, flag="--flag=x")
