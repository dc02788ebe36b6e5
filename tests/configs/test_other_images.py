import pytest

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, other_images, presets


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "svhn", "tiny"])
def test_presets_of_small_images_serve_others(name):
    preset = presets.preset(name)
    adapted = other_images.adapt(preset, "folder:birds")
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
    assert other_images.adapt(preset, "folder:birds") == preset


def test_the_presets_own_images_stay():
    preset = presets.preset("digits")
    assert other_images.adapt(preset, "digits") == preset
