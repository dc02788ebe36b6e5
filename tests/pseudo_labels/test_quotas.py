import numpy as np

from noisy_student_tf import configs
from noisy_student_tf.pseudo_labels import quotas


def plan(num_above, quota, **options):
    made = quotas.allot(
        np.array(num_above),
        selection=configs.SelectionConfig(**options),
        quota=quota,
    )
    assert made.num_rows(np.array(num_above)).shape == (len(num_above),)
    return (
        made.floor_copies.tolist(),
        made.num_winners.tolist(),
        made.by_confidence.tolist(),
    )


def test_every_class_with_images_gets_its_quota():
    assert plan([0, 3, 10, 25], 10) == (
        [10, 3, 1, 0],
        [0, 1, 0, 10],
        [False, False, False, True],
    )


def test_cap_bounds_copies():
    # 10 over 4 images: 2 each and 2 more; at most 2 copies leave no winner.
    assert plan([4], 10, max_copies=3)[:2] == ([2], [2])
    assert plan([4], 10, max_copies=2)[:2] == ([2], [0])


def test_without_upsampling_rare_classes_stay_rare():
    assert plan([4, 25], 10, upsample=False)[:2] == ([1, 0], [0, 10])


def test_without_balancing_all_are_kept():
    assert plan([4, 25], 10, balance=False)[:2] == ([1, 1], [0, 0])


def test_quota_is_configured_or_the_mean_rounded_up():
    for configured, expected in ((7, 7), (0, 4)):
        selection = configs.SelectionConfig(images_per_class=configured)
        quota = quotas.images_per_class(selection, num_images=10, num_classes=3)
        assert quota == expected
