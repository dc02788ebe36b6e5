"""What is found from shapes alone, for files that nobody could store here."""

import dataclasses

import pytest

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, cost, efficientnet_variants
from noisy_student_tf.weights import compare, detect, names, weight_file

NAMINGS = {
    "timm": names.TIMM,
    "efficientnet_pytorch": names.EFFICIENTNET_PYTORCH,
    "keras": names.KERAS,
    "tf1": names.tf1(scope="x/", norm="batch_normalization", suffix=""),
}


def make_spec(num_classes=1000, **options):
    return architectures.make_spec(
        configs.ModelConfig(**options), num_classes=num_classes, class_names=()
    )


def make_file(spec, naming="timm", **hints):
    """Return a file that has a model's shapes, but no weights."""
    blocks = efficientnet_variants.blocks(spec)
    family = NAMINGS[naming]
    shapes = {
        family.name(path, blocks): family.file_shape(path, shape)
        for path, shape in architectures.variable_shapes(spec).items()
    }
    return weight_file.WeightFile(
        path="some/file",
        format=naming,
        naming=family,
        shapes=shapes,
        read=lambda name: None,
        hints=weight_file.Hints(**hints),
        is_tf1=naming == "tf1",
    )


@pytest.mark.parametrize(
    "variant, naming",
    [
        ("efficientnet-b2", "keras"),
        ("efficientnet-l2", "timm"),
        ("efficientnet-l2", "efficientnet_pytorch"),
        ("efficientnet-b8", "efficientnet_pytorch"),
        ("efficientnet-lite0", "efficientnet_pytorch"),
        ("efficientnet-lite1", "tf1"),
        ("efficientnet-lite2", "timm"),
        ("efficientnet-lite4", "efficientnet_pytorch"),
    ],
)
def test_published_variants_are_found(variant, naming):
    published = architectures.VARIANTS[variant]
    spec = make_spec(name=variant, resolution=published.resolution)
    file = make_file(spec, naming)
    found = detect.detect(file, weight_file.Hints()).spec
    assert (found.name, found.width, found.depth) == (
        variant,
        published.width,
        published.depth,
    )
    assert found.num_classes == 1000
    assert found.resolution == published.resolution
    assert found.mean_rgb == published.design.mean_rgb
    compare.match(file, found, with_classifier=True)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize(
    "name, width, depth",
    [
        ("efficientnet-b0", 0.3, 0.2),
        ("efficientnet-b0", 0.75, 0.4),
        ("efficientnet-lite0", 0.75, 0.4),
    ],
)
def test_odd_models_are_found(naming, name, width, depth):
    spec = make_spec(num_classes=3, name=name, width=width, depth=depth)
    file = make_file(spec, naming)
    found = detect.detect(file, weight_file.Hints()).spec
    assert cost.multiply_adds(found, 64) == cost.multiply_adds(spec, 64)
    compare.match(file, found, with_classifier=True)


SMALL = make_spec(num_classes=3, width=0.25, depth=0.25)


def strides(num_classes=3, resolution=None, asked=None, naming="tf1", **hints):
    spec = dataclasses.replace(SMALL, num_classes=num_classes)
    request = weight_file.Hints(
        resolution=resolution, small_image_strides=asked
    )
    found = detect.detect(make_file(spec, naming, **hints), request)
    return found.spec.small_image_strides, found.origins["strides"]


def test_strides_of_a_checkpoint_follow_classes_and_resolution():
    assert strides()[0] is False
    assert strides(num_classes=10)[0] is True
    assert strides(resolution=32)[0] is True
    assert strides(num_classes=10, resolution=64)[0] is False
    assert "small_image_strides changes" in strides()[1]


def test_strides_that_are_known_are_not_guessed():
    assert strides(asked=True)[0] is True
    assert strides(num_classes=10, asked=False)[0] is False
    hinted = strides(small_image_strides=True, origin="the graph")
    assert hinted == (True, "the graph")
    assert strides(num_classes=10, naming="timm")[0] is False


def test_flags_win_over_the_file_and_the_file_over_defaults():
    file = make_file(SMALL, mean_rgb=(1.0, 2.0, 3.0), origin="config.json")
    request = weight_file.Hints(std_rgb=(4.0, 5.0, 6.0))
    found = detect.detect(file, request)
    assert found.spec.mean_rgb == (1.0, 2.0, 3.0)
    assert found.origins["mean"] == "config.json"
    assert found.spec.std_rgb == (4.0, 5.0, 6.0)
    assert found.origins["std"] == "as --std_rgb says"


def changed(edit):
    file = make_file(SMALL)
    shapes = dict(file.shapes)
    edit(shapes)
    return dataclasses.replace(file, shapes=shapes)


def match(file, request=None):
    found = detect.detect(file, request or weight_file.Hints())
    compare.match(file, found.spec, with_classifier=found.has_classifier)


def test_wrong_variant_names_shapes_and_variables_both_ways():
    request = weight_file.Hints(name="efficientnet-b0")
    with pytest.raises(ValueError) as caught:
        match(make_file(SMALL), request)
    message = str(caught.value)
    assert "some/file does not hold efficientnet-b0" in message
    assert (
        "conv_stem.weight [8, 3, 3, 3] in the file, [32, 3, 3, 3] in the model"
        in message
    )
    assert "missing from the file: blocks.1.1." in message


def test_missing_variable_is_named():
    file = changed(lambda shapes: shapes.pop("blocks.3.0.bn2.running_var"))
    with pytest.raises(
        ValueError, match=r"missing from the file: blocks.3.0.bn2.running_var"
    ):
        match(file)


def test_extra_variable_is_named():
    file = changed(lambda shapes: shapes.update({"blocks.3.0.extra": (2,)}))
    with pytest.raises(
        ValueError, match=r"unknown to the model: blocks.3.0.extra \[2\]"
    ):
        match(file)


def test_classifier_of_two_minds_about_its_classes():
    file = changed(lambda shapes: shapes.update({"classifier.bias": (4,)}))
    with pytest.raises(
        ValueError, match=r"classifier.weight \[3, 320\] in the file, \[4, 320"
    ):
        match(file)


def test_a_missing_stage_is_told():
    def drop(shapes):
        for name in [name for name in shapes if name.startswith("blocks.6")]:
            del shapes[name]

    with pytest.raises(ValueError, match=r"1, 1, 1, 1, 1, 1, 0 blocks"):
        match(changed(drop))
