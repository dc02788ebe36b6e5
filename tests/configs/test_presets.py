import pytest

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, presets


@pytest.mark.parametrize("name", presets.PRESETS)
def test_preset_survives_json_and_knows_its_name(name):
    preset = presets.preset(name)
    assert preset.preset == name
    assert config_tree.from_json(config_tree.to_json(preset)) == preset


def test_mistyped_preset_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean digits"):
        presets.preset("digit")


# Published scripts, `local_scripts/imagenet/train.sh`.
@pytest.mark.parametrize(
    "name, ratio, epochs, policy, magnitude",
    [
        ("imagenet_b0", 1, 700, "none", 0),
        ("imagenet_b1", 3, 700, "none", 0),
        ("imagenet_b2", 3, 700, "randaugment", 6),
        ("imagenet_b4", 3, 700, "randaugment", 15),
        ("imagenet_b5", 3, 350, "randaugment", 18),
        ("imagenet_b7", 3, 350, "randaugment", 27),
    ],
)
def test_imagenet_rows_are_the_published_ones(
    name, ratio, epochs, policy, magnitude
):
    preset = presets.preset(name)
    assert preset.training.unlabeled_ratio == ratio
    assert preset.training.student_epochs == epochs
    assert preset.augmentation.unlabeled.policy == policy
    assert preset.augmentation.unlabeled.magnitude == magnitude
    assert preset.optimizer.decay_epochs == pytest.approx(
        4.8 if epochs == 700 else 2.4
    )


def test_l2_chain_is_the_papers():
    first, second, third = (
        presets.preset(f"imagenet_l2_iteration{i}") for i in (1, 2, 3)
    )
    assert first.teacher_model.name == "efficientnet-b7"
    assert [p.training.unlabeled_ratio for p in (first, second, third)] == [
        14,
        14,
        28,
    ]
    assert second.self_training.teacher_directory.endswith(
        "imagenet_l2_iteration1/student_1"
    )
    assert (first.model.resolution, first.fixres.resolution) == (475, 800)


@pytest.mark.parametrize("name", ["digits", "svhn", "tiny"])
def test_digits_are_never_mirrored(name):
    augmentation = presets.preset(name).augmentation
    assert not augmentation.labeled.horizontal_flip
    assert not augmentation.unlabeled.horizontal_flip


def test_svhn_is_the_published_run():
    svhn = presets.preset("svhn")
    assert svhn.training.unlabeled_batch_size == 640
    # 109,474 steps of 128 over 69,257 images.
    steps = svhn.training.student_epochs * 69_257 / 128
    assert steps == pytest.approx(109_474, rel=1e-3)
    assert svhn.selection.images_per_class == 53_113


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "svhn", "tiny"])
def test_presets_of_small_images_serve_others(name):
    preset = presets.preset(name)
    adapted = presets.for_images(preset, "folder:birds")
    changed = {
        line.split(":")[0] for line in config_tree.differences(preset, adapted)
    }
    assert {each.split(".")[0] for each in changed} == {"data"}
    plain = configs.DataConfig()
    assert adapted.data.num_classes == 0
    assert adapted.data.evaluation == adapted.data.unlabeled == ""
    assert adapted.data.evaluation_fraction == plain.evaluation_fraction
    assert adapted.data.split == "stratified"


@pytest.mark.parametrize("name", ["photos", "imagenet_b0"])
def test_presets_without_images_of_their_own_stay(name):
    preset = presets.preset(name)
    assert presets.for_images(preset, "folder:birds") == preset


def test_the_presets_own_images_stay():
    preset = presets.preset("digits")
    assert presets.for_images(preset, "digits") == preset


def test_a_configuration_is_shown_as_what_differs_from_its_preset():
    preset = presets.preset("tiny")
    changed = config_tree.override(preset, {"training.teacher_epochs": 3.0})
    assert presets.describe(preset) == "Configuration: --preset=tiny"
    assert presets.describe(changed) == (
        "Configuration: --preset=tiny --training.teacher_epochs=3.0"
    )
