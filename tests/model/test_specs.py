import pytest

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, specs


def resolve(num_classes=10, class_names=(), **options):
    return architectures.make_spec(
        configs.ModelConfig(**options),
        num_classes=num_classes,
        class_names=class_names,
    )


def test_variant_gives_what_the_configuration_leaves():
    spec = resolve(name="efficientnet-l2", resolution=475)
    assert (spec.width, spec.depth, spec.dropout_rate) == (4.3, 5.3, 0.5)


def test_images_are_normalized_as_the_variant_was_trained():
    spec = resolve(name="efficientnet-lite2")
    assert (spec.mean_rgb, spec.std_rgb) == ((127.0,) * 3, (128.0,) * 3)
    spec = resolve(name="efficientnet-b0")
    assert spec.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
    assert spec.std_rgb == pytest.approx((58.395, 57.12, 57.375))
    spec = resolve(name="efficientnet-lite2", mean_rgb=(1.0, 2.0, 3.0))
    assert (spec.mean_rgb, spec.std_rgb) == ((1.0, 2.0, 3.0), (128.0,) * 3)


def test_configuration_overrides_the_variant():
    spec = resolve(width=0.5, depth=0.4, dropout_rate=0.0)
    assert (spec.width, spec.depth, spec.dropout_rate) == (0.5, 0.4, 0.0)


def test_json_round_trip():
    spec = resolve(num_classes=2, class_names=("cat", "dog"))
    assert specs.from_json(specs.to_json(spec)) == spec


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean efficientnet-b7\?"):
        resolve(name="eficientnet_b7")


def test_wrong_number_of_class_names():
    with pytest.raises(ValueError, match="1 names for num_classes=2"):
        resolve(num_classes=2, class_names=("cat",))


def test_no_class():
    with pytest.raises(ValueError, match="num_classes=0"):
        resolve(num_classes=0)


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ValueError, match=r"missing: .*'depth'.*\['deep'\]"):
        specs.from_dict({"deep": 1.0})
