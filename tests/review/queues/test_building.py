import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.model import saved
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.review.queues import building, facts, outputs
from tests.review import small_run

PICTURES = small_run.Pictures([f"{number}.png" for number in range(12)])
TRAIN = small_run.Pictures([f"t/{n}.png" for n in range(6)], [0, 0, 0, 1, 1, 2])
SETTINGS = facts.Settings(length=4, num_looked_at=9)


def write(root, *stages):
    """Write a run so far: data, then what is named."""
    splits = {"unlabeled": PICTURES, "train": TRAIN}
    workdir = small_run.write(root, splits)
    random = np.random.default_rng(0)
    shares = random.dirichlet([1, 1, 1], len(PICTURES.keys))
    if "predictions" in stages:
        small_run.write_model(workdir, "teacher", seed=0)
        small_run.write_predictions(workdir, 1, PICTURES, shares)
    if "student" in stages:
        is_selected = np.arange(12) % 2 == 0
        small_run.write_selection(workdir, 1, PICTURES, shares, is_selected)
        small_run.write_model(workdir, "student_1", seed=1)
    if "folds" in stages:
        files.make_directories(workdir.folds)
        logits = 3 * np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
        with held_out.open_writer(
            held_out.path(workdir.folds, "folds"), 3
        ) as keep:
            keep(logits, np.array(TRAIN.labels), TRAIN.ids())
        shards.write_manifest(workdir.folds, {"num_folds": 2})
    return workdir


def by_name(queues):
    return {queue.name: queue for queue in queues}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("run"))
    workdir = write(root, "predictions", "student", "folds")
    return workdir, by_name(building.build(workdir, SETTINGS))


def test_uncertain_images_are_asked_for(built):
    _, queues = built
    queue = queues["label_next"]
    assert 1 <= len(queue.entries) <= 4
    assert queue.model == "student_1"
    for entry in queue.entries:
        assert entry.place.split == "unlabeled"
        assert entry.label is None
        assert entry.suggested == entry.best[0][0]
        assert f'student_1 gives "{entry.suggested}" ' in entry.why
        assert 0.99 < sum(share for _, share in entry.best) < 1.01


def test_labels_that_folds_doubt(built):
    _, queues = built
    (entry,) = queues["wrong_labels"].entries
    assert entry.place.key == "t/2.png"
    assert (entry.label, entry.suggested) == ("cat", "dog")
    assert 'gives "cat" 5 % and "dog" 91 %' in entry.why


def test_pseudo_labels_that_the_student_doubts(built):
    _, queues = built
    for entry in queues["wrong_pseudo_labels"].entries:
        assert int(entry.place.key.split(".")[0]) % 2 == 0
        assert entry.label != entry.suggested == entry.best[0][0]
        assert f'learned as "{entry.label}", which student_1' in entry.why
    assert queues["wrong_pseudo_labels"].entries


def test_energies_without_held_out_images(built):
    _, queues = built
    entries = queues["none_of_the_classes"].entries
    assert len(entries) == 4
    assert all(entry.suggested is None for entry in entries)
    assert "among the highest of" in entries[0].why


def test_queues_are_kept_until_the_run_goes_on(built, monkeypatch):
    workdir, queues = built

    def fail(*_):
        raise AssertionError("made again")

    with monkeypatch.context() as patched:
        patched.setattr(saved, "load", fail)
        again = by_name(building.build(workdir, SETTINGS))
        assert again == queues
        # Other lengths need no network.
        shorter = facts.Settings(length=2, num_looked_at=9)
        (short, *_) = building.build(workdir, shorter)
        assert len(short.entries) == 2
        shards.write_manifest(workdir.folder("student_1"), {"seed": 2})
        with pytest.raises(AssertionError, match="made again"):
            building.build(workdir, SETTINGS)


def test_only_what_is_missing_is_computed(built, monkeypatch):
    workdir, _ = built
    found = facts.gather(workdir, SETTINGS).find(PICTURES.ids())
    folder = "teacher"
    first = outputs.compute(workdir, folder, found[:5], batch_size=4)
    seen = []
    real = outputs._compute

    def spy(workdir, model, wanted, batch_size):
        seen.extend(wanted)
        return real(workdir, model, wanted, batch_size)

    monkeypatch.setattr(outputs, "_compute", spy)
    every = outputs.compute(workdir, folder, found, batch_size=4)
    assert seen == found[5:]
    np.testing.assert_array_equal(every.logits[:5], first.logits)
    assert [each.tobytes() for each in every.ids] == PICTURES.ids()


def test_a_run_that_has_not_come_far_says_what_is_missing(tmp_path):
    root = str(tmp_path / "begun")
    queues = by_name(building.build(write(root), SETTINGS))
    assert f"--workdir={root}" in queues["label_next"].missing
    assert "--evaluation.teacher_folds=5" in queues["wrong_labels"].missing
    assert "No student" in queues["wrong_pseudo_labels"].missing
    assert "noisy_student" in queues["none_of_the_classes"].missing

    # And makes its queues when it has.
    workdir = write(root, "predictions")
    queues = by_name(building.build(workdir, SETTINGS))
    assert queues["label_next"].model == "teacher"
    assert queues["label_next"].entries
    assert "No student" in queues["wrong_pseudo_labels"].missing


def test_predictions_of_other_images_are_named(tmp_path):
    workdir = write(str(tmp_path), "predictions")
    others = small_run.Pictures(["x.png", "y.png"])
    small_run.write_predictions(workdir, 1, others, np.full([2, 3], 1 / 3))
    with pytest.raises(ValueError, match="in no index"):
        building.build(workdir, SETTINGS)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    workdir = write(str(tmp_path), "predictions")
    name = "unlabeled-00001-of-00002.tfrecord"
    path = files.join(workdir.unlabeled, name)
    content = files.read_bytes(path)
    files.write_bytes(path, content[:-40])
    with pytest.raises(ValueError, match=f"{name}, record 5: it is damaged"):
        building.build(workdir, SETTINGS)
    # Mended, it is made.
    files.write_bytes(path, content)
    assert building.build(workdir, SETTINGS)[0].entries


def test_there_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        building.build(workdirs.Workdir(str(tmp_path)), SETTINGS)
