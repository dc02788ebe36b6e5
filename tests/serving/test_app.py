import base64
import io
import json
import time
import unittest.mock

import numpy as np
import pytest
from fastapi import testclient
from PIL import Image

from noisy_student_tf.records import served_predictions
from noisy_student_tf.serving import (
    answering,
    app,
    batching,
    guards,
    prediction_log,
    reloading,
)
from tests.serving import small_exports

PICTURE = small_exports.encode(small_exports.IMAGES[0])


@pytest.fixture(scope="module")
def client(small_export):
    with open_client(small_export) as opened:
        yield opened


def open_client(small_export, **settings):
    made = app.make_app(small_export.directory, answering.Settings(**settings))
    return testclient.TestClient(made)


def test_a_picture_is_classified(client, small_export):
    picture = small_exports.encode(small_exports.IMAGES[0])
    response = client.post("/classify", content=picture)
    (expected,) = small_exports.probabilities(
        small_export.model, small_exports.IMAGES[:1]
    )
    order = np.argsort(-expected)
    assert response.status_code == 200
    answer = response.json()
    assert answer["class"] == order[0]
    assert answer["class_name"] == small_exports.CLASS_NAMES[order[0]]
    rows = answer["probabilities"]
    assert [row["class_name"] for row in rows] == [
        small_exports.CLASS_NAMES[i] for i in order
    ]
    np.testing.assert_allclose(
        [row["probability"] for row in rows],
        expected[order],
        atol=small_exports.tolerance(small_export.model),
    )


def test_what_is_no_picture_is_refused(client):
    response = client.post("/classify", content=b"no picture")
    assert response.status_code == 415
    assert "Accepted are JPEG, PNG" in response.json()["detail"]


def test_an_empty_request_is_refused(client):
    response = client.post("/classify")
    assert response.status_code == 400
    assert "Send the bytes of a picture" in response.json()["detail"]


def test_large_requests_are_refused_whether_they_say_so_or_not(small_export):
    limits = guards.Limits(max_bytes=100)
    with open_client(small_export, requests=limits) as client:
        for content in (b"x" * 101, iter([b"x" * 60, b"x" * 60])):
            response = client.post("/classify", content=content)
            assert response.status_code == 413
            assert "more than 100 bytes" in response.json()["detail"]


@pytest.mark.parametrize(("limit", "code"), [(20 * 24 - 1, 413), (480, 200)])
def test_a_picture_of_many_pixels_is_refused_undecoded(
    small_export, limit, code
):
    picture = small_exports.encode(small_exports.IMAGES[0])
    with open_client(small_export, max_pixels=limit) as client:
        response = client.post("/classify", content=picture)
    assert response.status_code == code
    if code == 413:
        assert f"more than {limit} pixels" in response.json()["detail"]


def test_files_of_a_form_are_answered_each(client):
    picture = small_exports.encode(small_exports.IMAGES[0])
    alone = client.post("/classify", content=picture).json()
    sent = [("pictures", ("a.png", picture)), ("pictures", ("b.txt", b"no"))]
    first, second = client.post("/classify", files=sent).json()["predictions"]
    assert first == {"file": "a.png", **alone}
    assert second["file"] == "b.txt"
    assert "not a picture" in second["error"]
    response = client.post(
        "/classify",
        content=b"--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert response.status_code == 400
    assert "no file" in response.json()["detail"]


def test_clients_of_tensorflow_serving_are_answered(client):
    encoded = [small_exports.encode(each) for each in small_exports.IMAGES]
    texts = [{"b64": base64.b64encode(each).decode()} for each in encoded]
    alone = client.post("/classify", content=encoded[0]).json()
    rows = client.post(
        "/v1/models/digits:predict", json={"instances": [*texts, {"b64": ""}]}
    ).json()["predictions"]
    assert [row["valid"] for row in rows] == [True] * 3 + [False]
    assert rows[0]["class_names"] == alone["class_name"]
    assert rows[3]["classes"] == -1
    columns = client.post(
        "/v1/models/digits:predict", json={"inputs": {"image_bytes": texts}}
    ).json()["outputs"]
    assert columns["classes"] == [row["classes"] for row in rows[:3]]
    np.testing.assert_allclose(
        columns["probabilities"],
        [row["probabilities"] for row in rows[:3]],
        atol=1e-6,
    )
    response = client.post("/v1/models/digits:predict", json={"instances": 3})
    assert response.status_code == 400
    assert "accepted is" in response.json()["error"]
    status = client.get("/v1/models/digits").json()["model_version_status"]
    assert status[0]["state"] == "AVAILABLE"


def test_a_token_is_asked_for_but_by_what_keeps_the_server_alive(small_export):
    token = "0123456789abcdef"
    picture = small_exports.encode(small_exports.IMAGES[0])
    with open_client(small_export, token=token) as client:
        for path in ("/", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"Authorization": f"Bearer {token}x"}):
            refused = client.post("/classify", content=picture, headers=headers)
            assert refused.status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        response = client.post(
            "/classify",
            content=picture,
            headers={"Authorization": f"Bearer {token}"},
        )
        assert response.status_code == 200
    with pytest.raises(ValueError, match="16 or more"):
        open_client(small_export, token="short")


def test_a_full_queue_answers_503_and_when_to_come_again(small_export):
    limits = batching.Limits(max_waiting=0)
    with open_client(small_export, batches=limits) as client:
        assert client.post("/classify", content=PICTURE).status_code == 413
    made = app.make_app(small_export.directory)
    with testclient.TestClient(made) as client:
        with unittest.mock.patch.object(
            batching.Batcher, "answer", side_effect=batching.QueueFullError("x")
        ):
            response = client.post("/classify", content=PICTURE)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_what_takes_too_long_is_answered_so(small_export):
    limits = guards.Limits(answer_seconds=0.05)
    late = unittest.mock.patch.object(
        reloading.Models,
        "classify",
        side_effect=lambda pictures: time.sleep(0.5) or [],
    )
    with late, open_client(small_export, requests=limits) as client:
        response = client.post("/classify", content=PICTURE)
    assert response.status_code == 503
    assert "took too long" in response.json()["detail"]


def test_requests_are_counted_and_told(small_export):
    told = []
    with open_client(small_export, tell=told.append) as client:
        client.post("/classify", content=PICTURE)
        client.post("/classify", content=b"no picture")
        client.get("/some/where")
        text = client.get("/metrics").text
    assert [(each.path, each.status) for each in told] == [
        ("/classify", 200),
        ("/classify", 415),
        ("/some/where", 404),
        ("/metrics", 200),
    ]
    assert told[0].bytes_sent > 0
    assert 'requests_total{code="200",path="/classify"} 1.0' in text
    assert 'requests_total{code="404",path="other"} 1.0' in text
    assert 'pictures_total{is_valid="true"} 1.0' in text
    assert "batch_size_count 1.0" in text
    line = json.loads(guards.as_json(told[0]))
    assert line["status"] == 200
    assert line["time"].endswith("Z")


def test_what_was_answered_is_written_at_the_end(small_export, tmp_path):
    settings = prediction_log.Settings(str(tmp_path), keep_below=1.0)
    with open_client(small_export, log=settings) as client:
        answer = client.post("/classify", content=PICTURE).json()
        client.post("/classify", content=b"no picture")
    rows = served_predictions.read(str(tmp_path))
    assert rows.classes.tolist() == [answer["class"]]
    np.testing.assert_allclose(
        rows.confidences[0], answer["probabilities"][0]["probability"]
    )
    (kept,) = (tmp_path / "pictures").iterdir()
    assert kept.read_bytes() == PICTURE


def test_a_decompression_bomb_is_refused(client, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30)).save(buffer, "TIFF")
    response = client.post("/classify", content=buffer.getvalue())
    assert response.status_code == 413


def test_a_jpeg_of_endless_scans_is_refused(client):
    buffer = io.BytesIO()
    image = Image.fromarray(small_exports.IMAGES[0])
    image.save(buffer, "JPEG", progressive=True)
    encoded = buffer.getvalue()
    assert client.post("/classify", content=encoded).status_code == 200
    # The last scan again and again: every one paints the whole picture.
    start, end = encoded.rindex(b"\xff\xda"), encoded.rindex(b"\xff\xd9")
    bomb = encoded[:end] + encoded[start:end] * 200 + encoded[end:]
    response = client.post("/classify", content=bomb)
    assert response.status_code == 415
    assert "more than 100 scans" in response.json()["detail"]


def test_sixty_large_frames_are_answered_from_the_first(client):
    frames = [Image.new("L", (3000, 3000), shade) for shade in range(60)]

    def answer(count):
        """Return the answer to so many frames, and what it took."""
        buffer = io.BytesIO()
        frames[0].save(
            buffer, "GIF", save_all=True, append_images=frames[1:count]
        )
        started = time.process_time()
        response = client.post("/classify", content=buffer.getvalue())
        assert response.status_code == 200
        return response.json(), time.process_time() - started

    # The first picture of this size warms up.
    (first, _), (_, one), (last, sixty) = map(answer, (1, 1, 60))
    assert last == first
    assert sixty < 10 * one


def test_the_model_is_described(client):
    assert client.get("/model").json() == {
        "name": "efficientnet-b0",
        "training_fingerprint": "0123abcd4567efgh",
        "resolution": 16,
        "runtime": "saved_model",
        "class_names": list(small_exports.CLASS_NAMES),
    }


def test_the_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert "Drop pictures here" in response.text
    assert "://" not in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
