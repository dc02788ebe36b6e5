import dataclasses

from noisy_student_tf import configs
from noisy_student_tf.planning import compute, storage

CONFIG = configs.Config(
    data=configs.DataConfig(num_classes=10),
    training=configs.TrainingConfig(keep_checkpoints=2),
    self_training=configs.SelfTrainingConfig(num_iterations=1),
)
DATA = compute.Data(
    num_labeled=100, num_unlabeled=1_000, num_rows=800, num_selected=500
)


def test_every_stage_by_hand(monkeypatch):
    monkeypatch.setattr(compute, "count_parameters", lambda *_: 7)
    lines = storage.lines(
        CONFIG,
        DATA,
        labeled_image_bytes=10,
        unlabeled_image_bytes=20,
    )
    assert {line.name: line.num_bytes for line in lines} == {
        "labeled": 100 * 10,
        "unlabeled": 1_000 * 20,
        # Ten float16, and 24 bytes of id, class and confidence.
        "predictions_1": 1_000 * 44,
        "selection_1": 500 * 24,
        # Copies are a number: 500 pictures, not 800.
        "pseudo_labeled_1": 500 * (20 + 44),
        # Two copies of the weights; the best checkpoint beside two others,
        # each with two slots of the optimizer.
        "teacher": 2 * 7 * 4 + 3 * 4 * 7 * 4,
        "student_1": 2 * 7 * 4 + 3 * 4 * 7 * 4,
    }


def test_sgd_has_one_slot_less_than_rmsprop():
    sgd = dataclasses.replace(
        CONFIG,
        optimizer=dataclasses.replace(CONFIG.optimizer, name="sgd"),
    )
    assert storage.training_state_bytes(CONFIG, 1) == 16
    assert storage.training_state_bytes(sgd, 1) == 12
