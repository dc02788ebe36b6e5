from noisy_student_tf.pseudo_labels import plausibility
from tests.pseudo_labels import synthetic

_NAMES = ["ant", "bee", "cat", "dog"]


def warnings(predicted, labeled=(5, 5, 5, 5)):
    return plausibility.class_mix_warnings(predicted, labeled, _NAMES)


def test_one_class_taking_nearly_all_is_named():
    names = [f"c{i}" for i in range(10)]
    (found,) = plausibility.class_mix_warnings(
        [1, 91, *[1] * 8], [5] * 10, names
    )
    assert "'c1' in 91.0%" in found
    assert "it is 10.0%" in found


def test_few_classes_of_many_are_told():
    predicted, labeled = [40, 40, 40, *[0] * 37], [5] * 40
    names = list(map(str, range(40)))
    (found,) = plausibility.class_mix_warnings(predicted, labeled, names)
    assert "over 3.0 classes, the labels over 40.0" in found


def test_a_mix_like_the_labels_is_plausible():
    assert warnings([90, 110, 100, 95]) == []
    assert warnings([97, 1, 1, 1], [97, 1, 1, 1]) == []
    assert warnings([0, 0, 0, 0]) == []


def test_a_teacher_by_chance_is_told():
    assert plausibility.accuracy_warnings(0.5, 4) == []
    (found,) = plausibility.accuracy_warnings(0.26, 4)
    assert "right on 26.0% of the validation images" in found


def test_classes_are_counted_over_files(tmp_path):
    synthetic.write_predictions(
        tmp_path, [0, 2, 2, 1], [0.5] * 4, num_classes=4, cuts=[1]
    )
    paths = sorted(map(str, tmp_path.glob("*.parquet")))
    counts = plausibility.count_classes(paths, num_classes=4)
    assert counts.tolist() == [1, 1, 2, 0]
