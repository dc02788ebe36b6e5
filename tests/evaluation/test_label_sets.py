import numpy as np
import pytest

from noisy_student_tf.evaluation import label_sets


def map_classes(set_names, model_names=(), num_classes=3, synsets=()):
    return label_sets.map_classes(
        set_names,
        model_names=model_names,
        num_classes=num_classes,
        synsets=synsets,
        where="folder:/sets",
    )


def test_names_decide_whatever_their_order():
    assert map_classes(["owl", "cat"], ["cat", "dog", "owl"]) == [2, 0]


def test_synsets_name_imagenet_s_classes():
    synsets = ["n01440764", "n01443537", "n01484850"]
    names = ["tench", "goldfish", "shark"]
    assert map_classes(["n01484850", "n01440764"], names, 3, synsets) == [2, 0]


def test_numbers_are_classes():
    assert map_classes(["0", "2"], ["cat", "dog", "owl"]) == [0, 2]


def test_a_nameless_model_takes_as_many_classes_as_it_has():
    assert map_classes(["a", "b", "c"]) == [0, 1, 2]


@pytest.mark.parametrize(
    "names", [["a", "b", "c", "d"], ["a", "b"], ["0", "3"]]
)
def test_classes_that_do_not_match_are_named(names):
    with pytest.raises(
        ValueError, match=r"folder:/sets: its \d classes \["
    ) as e:
        map_classes(names, ["cat", "dog", "owl"])
    assert "3 of the model [cat, dog, owl]" in str(e.value)


def test_real_labels_follow_the_files_numbers():
    content = [[1], [], [0, 2]]
    keys = ["n01/ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000001.JPEG"]
    assert label_sets.real_labels(content, keys, "x") == [[0, 2], [1]]
    for key in ("cat.png", "ILSVRC2012_val_00000004.JPEG"):
        with pytest.raises(ValueError, match="does not tell which"):
            label_sets.real_labels(content, [key], "x")


def test_any_right_class_counts_and_images_without_are_left_out():
    logits = np.eye(8)[[0, 1, 2, 3]] + np.arange(8) / 100
    counts = label_sets.multi_label_result(logits, [[5, 0], [7], [], [0, 1]])
    # Top-5 of the last: 3, 7, 6, 5, 4.
    assert counts == {"num_images": 3, "num_correct": 1, "num_in_top5": 2}
