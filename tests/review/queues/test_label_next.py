import numpy as np

from noisy_student_tf.review.queues import label_next


def choose(probabilities, features, *, length=100, seed=0):
    return label_next.choose(
        np.asarray(probabilities, float),
        np.asarray(features, float),
        length=length,
        seed=seed,
    )


def unsure(margins):
    """Return probabilities of two classes, so far apart."""
    margins = np.asarray(margins, float)
    return np.stack([(1 + margins) / 2, (1 - margins) / 2], axis=1)


def spread(num_images, seed=0):
    return np.random.default_rng(seed).normal(size=[num_images, 8])


def test_uncertain_images_come_first():
    margins = np.repeat([0.02, 0.98], 50)

    chosen = [
        choose(unsure(margins), spread(100, seed), length=20, seed=seed)
        for seed in range(5)
    ]

    # A sure one's gradient is a fiftieth as long.
    for each in chosen:
        assert len(set(each.rows.tolist())) == 20
        assert np.mean(margins[each.rows] < 0.5) > 0.95


def test_of_equally_uncertain_images_different_ones_are_chosen():
    kinds = np.repeat(np.arange(5), [40, 40, 10, 5, 5])
    features = np.eye(5)[kinds] + 0.001 * spread(100)[:, :5]

    for seed in range(5):
        chosen = choose(unsure(np.zeros(100)), features, length=5, seed=seed)
        assert sorted(kinds[chosen.rows]) == [0, 1, 2, 3, 4]
        sizes = dict(zip(kinds[chosen.rows], chosen.num_alike, strict=True))
        assert sizes == {0: 40, 1: 40, 2: 10, 3: 5, 4: 5}


def test_distances_are_those_of_the_gradients():
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([1, 1, 1], 30)
    features = random.normal(3, 2, [30, 4])

    found = choose(probabilities, features, length=6)

    seen = np.concatenate([features, np.ones([30, 1])], axis=1)
    residuals = probabilities - np.eye(3)[probabilities.argmax(1)]
    gradients = np.einsum("ij,ik->ijk", residuals, seen).reshape(30, 15)
    gaps = np.linalg.norm(gradients[:, None] - gradients[found.rows], axis=2)
    expected = np.bincount(gaps.argmin(1), minlength=6)
    assert found.num_alike.tolist() == expected.tolist()


def test_equal_pictures_are_shown_once():
    features = np.repeat(spread(3), [5, 1, 2], axis=0)

    chosen = choose(unsure(np.full(8, 0.1)), features)

    assert len(chosen.rows) == 3
    assert sorted(chosen.num_alike.tolist()) == [1, 2, 5]
    assert choose(unsure([0.3]), [[7, 7]]).rows.tolist() == [0]


def test_nothing_is_chosen_of_nothing():
    chosen = choose(np.zeros([0, 3]), np.zeros([0, 4]))
    assert chosen.rows.tolist() == []
    assert chosen.num_alike.tolist() == []
