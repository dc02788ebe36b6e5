import numpy as np
import pytest

from noisy_student_tf.records import held_out
from tests.pseudo_labels import synthetic


@pytest.fixture(params=["local", "remote"])
def path(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else "ram://held-out"
    return held_out.path(root, "test")


def write(path, logits, labels, batch_size=2):
    """Write images whose ids are their numbers'."""
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels)
    ids = [row.tobytes() for row in synthetic.make_ids(len(labels))]
    with held_out.open_writer(path, logits.shape[1]) as keep:
        for start in range(0, len(labels), batch_size):
            part = slice(start, start + batch_size)
            keep(logits[part], labels[part], ids[part])


def test_names_tell_the_split_and_another_resolution():
    assert held_out.path("run/teacher", "test") == (
        "run/teacher/held_out_test.parquet"
    )
    assert held_out.path("run", "validation", resolution=48) == (
        "run/held_out_validation_at_48.parquet"
    )


@pytest.mark.parametrize("bytes_at_once", [1, 40, 1 << 20])
def test_images_come_back_whatever_is_read_at_once(
    path, bytes_at_once, monkeypatch
):
    monkeypatch.setattr(held_out, "_BYTES_AT_ONCE", bytes_at_once)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 3)).astype(np.float32)
    labels = [0, 1, 2, 2, 1, 0, 1]
    write(path, logits, labels)

    rows = list(held_out.read(path))
    together = {
        name: np.concatenate([getattr(each, name) for each in rows])
        for name in ("ids", "labels", "logits")
    }
    columns = list(held_out.read_probabilities(path))

    assert held_out.num_classes(path) == 3
    np.testing.assert_array_equal(together["ids"], synthetic.make_ids(7))
    np.testing.assert_array_equal(together["labels"], labels)
    np.testing.assert_array_equal(together["logits"], logits)
    expected = np.exp(logits.astype(np.float64))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(columns, 1), expected, rtol=1e-12)


def test_choices_are_the_greatest_logits_and_the_first_of_equals(path):
    write(path, [[0, 1, 1], [2, 1, 0], [0, 0, 0]], [1, 0, 2])

    choices = held_out.read_choices(path)

    assert choices.classes.tolist() == [1, 0, 0]
    assert choices.labels.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(choices.ids, synthetic.make_ids(3))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = held_out.path(str(tmp_path), "test")
    with pytest.raises(RuntimeError, match="interrupted"):
        with held_out.open_writer(path, 2) as keep:
            keep(np.zeros((1, 2)), np.zeros(1, int), [b"i" * 16])
            raise RuntimeError("interrupted")

    assert list(tmp_path.iterdir()) == []


def test_images_without_ids_are_refused(tmp_path):
    path = held_out.path(str(tmp_path), "test")
    with pytest.raises(ValueError, match="length 16 was 0"):
        with held_out.open_writer(path, 2) as keep:
            keep(np.zeros((1, 2)), np.zeros(1, int), [b""])


def test_another_file_is_refused(tmp_path):
    synthetic.write_predictions(tmp_path, [0], [0.5], num_classes=2)
    (other,) = tmp_path.glob("predictions-*")
    with pytest.raises(ValueError, match=r"no column \['label', 'logits'\]"):
        held_out.read_choices(str(other))
