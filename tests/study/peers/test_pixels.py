import numpy as np

from study.peers import pixels


def test_self_training_learns_what_few_labels_do_not_tell():
    """Two bands, each labeled at one end: unlabeled images bridge them."""
    generator = np.random.default_rng(0)

    def band(height, num_images):
        along = generator.uniform(0, 4, num_images)
        across = height + 0.05 * generator.standard_normal(num_images)
        return np.stack([along, across], axis=1).astype(np.float32)

    unlabeled = np.concatenate([band(0, 200), band(1, 200)])
    labeled = (
        np.array([[0, 0], [0.1, 0], [0, 1], [0.1, 1]], np.float32),
        np.array([0, 0, 1, 1]),
    )
    models = pixels.fit(labeled, unlabeled, threshold=0.6, seed=0)
    labels = np.repeat([0, 1], 200)
    accuracy = (models["student_1"](unlabeled) == labels).mean()
    assert accuracy > 0.99
    assert set(models) == {"teacher", "student_1"}
