import asyncio

import numpy as np
import pytest

from noisy_student_tf import files
from noisy_student_tf.records import served_predictions
from noisy_student_tf.serving import exported, prediction_log
from tests.serving import small_exports

PICTURES = [small_exports.encode(each) for each in small_exports.IMAGES]


def predict(confidence: float, class_index: int = 1) -> exported.Prediction:
    return exported.Prediction(
        is_valid=class_index >= 0,
        class_index=class_index,
        class_name="dog",
        probabilities=np.array([0.0, confidence], np.float32),
        energy=-2.0,
    )


def open_log(path, **settings):
    return prediction_log.PredictionLog(
        prediction_log.Settings(str(path), **settings)
    )


def names(path):
    return sorted(each.name for each in path.iterdir())


def test_rows_are_written_without_pictures(tmp_path):
    log = open_log(tmp_path)
    predictions = [predict(0.25), predict(0.0, -1), predict(0.75)]
    log.add(PICTURES, predictions, model="0123")
    log.write()
    log.write()
    (name,) = names(tmp_path)
    assert name.endswith(".parquet")
    rows = served_predictions.read(str(tmp_path))
    assert rows.confidences.tolist() == [0.25, 0.75]
    assert rows.classes.tolist() == [1, 1]
    assert rows.energies.tolist() == [-2.0] * 2
    assert rows.models.tolist() == ["0123"] * 2
    assert rows.ids[1].tobytes() == served_predictions.image_id(PICTURES[2])


def test_pictures_that_the_model_is_not_sure_of_are_kept_once(tmp_path):
    predictions = [predict(0.25), predict(0.0, -1), predict(0.5)]
    for _ in range(2):
        log = open_log(tmp_path, keep_below=0.5)
        log.add(PICTURES * 2, predictions * 2, model="0123")
    kept = tmp_path / "pictures"
    expected = f"{served_predictions.image_id(PICTURES[0]).hex()}.png"
    assert names(kept) == [expected]
    assert (kept / expected).read_bytes() == PICTURES[0]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_pictures": 2},
        {"max_bytes": sum(map(len, PICTURES)) - 1},
    ],
)
def test_no_more_is_kept_than_was_allowed_by_any_server(tmp_path, limits):
    for _ in range(2):
        for picture in PICTURES:
            log = open_log(tmp_path, keep_below=0.9, **limits)
            log.add([picture], [predict(0.5)], model="0123")
    assert len(names(tmp_path / "pictures")) == 2


def test_rows_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_log, "_MAX_ROWS", 3)
    log = open_log(tmp_path)
    log.add(PICTURES, [predict(0.5)] * 3, model="0123")
    assert len(served_predictions.read(str(tmp_path)).ids) == 3


def test_they_are_written_now_and_then(tmp_path):
    log = open_log(tmp_path, write_seconds=0.01)
    log.add(PICTURES, [predict(0.5)] * 3, model="0123")

    async def wait():
        writing = asyncio.create_task(log.write_now_and_then())
        async with asyncio.timeout(10):
            while not names(tmp_path):
                await asyncio.sleep(0.01)
        writing.cancel()

    asyncio.run(wait())
    assert len(served_predictions.read(str(tmp_path)).ids) == 3


def test_a_full_disk_is_told_once_and_stops_nothing(
    tmp_path, monkeypatch, caplog
):
    log = open_log(tmp_path, keep_below=0.9)

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "write_bytes", fail)
    monkeypatch.setattr(served_predictions, "write", fail)
    for _ in range(2):
        log.add(PICTURES, [predict(0.5)] * 3, model="0123")
        log.write()
    assert caplog.text.count("No space left") == 1
    monkeypatch.undo()
    log.add(PICTURES, [predict(0.5)] * 3, model="0123")
    log.write()
    assert len(served_predictions.read(str(tmp_path)).ids) == 3
