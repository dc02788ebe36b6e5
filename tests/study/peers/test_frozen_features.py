import numpy as np
import pytest

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import held_out
from study.peers import frozen_features
from tests.study import fakes

SIDE = 24


def test_self_training_learns_what_few_labels_do_not_tell():
    """Unlabeled images are far apart; labeled ones are close together."""
    generator = np.random.default_rng(0)

    def cloud(center, num_images):
        noise = generator.standard_normal((num_images, 2))
        return (np.array(center) + 0.3 * noise).astype(np.float32)

    unlabeled = np.concatenate([cloud([4, 4], 200), cloud([-4, -4], 200)])
    labeled = (
        np.concatenate([cloud([1, 0], 4), cloud([-1, 0], 4)]),
        np.repeat([0, 1], 4),
    )
    models = frozen_features.fit(labeled, unlabeled, threshold=0.6)
    labels = np.repeat([0, 1], 200)
    assert (models["student_1"].predict(unlabeled) == labels).mean() > 0.99
    assert set(models) == {"teacher", "student_1"}


@pytest.fixture
def config(tmp_path):
    """Of a tiny network that nobody trained, as initial weights."""
    directory = str(tmp_path / "weights")
    model = configs.ModelConfig(width=0.1, depth=0.1, resolution=SIDE)
    spec = architectures.make_spec(model, num_classes=3, class_names=())
    network = architectures.build(spec)
    saved.save(directory, model=network, ema_model=network, spec=spec)
    return config_tree.override(
        configs.Config(),
        {
            "preset": "photos",
            "data.num_classes": 2,
            "model.resolution": SIDE,
            "model.initial_weights": directory,
            "selection.confidence_threshold": 0.9,
        },
    )


def test_rows_are_of_the_test_images_with_all_metrics(config, tmp_path):
    """Dark and bright images: any network tells them apart."""
    generator = np.random.default_rng(0)
    labels = [0, 1] * 6
    brightness = np.array(labels)[:, None, None] * 200
    shape = (len(labels), SIDE, SIDE)
    images = {
        name: (brightness + generator.integers(0, 40, shape)).astype(np.uint8)
        for name in ("train", "test", "unlabeled")
    }
    run = workdirs.Workdir(str(tmp_path / "run"))
    fakes.write_shards(run, images, labels, num_classes=2)
    directory = str(tmp_path / "peer")
    frozen_features.write(config, run, directory)
    rows = files.read_json(files.join(directory, "results.json"))
    assert [row["model"] for row in rows] == ["teacher", "student_1"]
    for row in rows:
        assert row["split"] == "test"
        assert row["accuracy"] == row["macro_f1"] == row["auroc"] == 1.0
        path = held_out.path(files.join(directory, row["model"]), "test")
        assert held_out.read_choices(path).classes.tolist() == labels
