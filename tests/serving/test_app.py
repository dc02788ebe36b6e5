import io
import time

import numpy as np
import pytest
from fastapi import testclient
from PIL import Image

from noisy_student_tf.records import pictures
from noisy_student_tf.serving import app, exported
from tests.serving import small_exports


@pytest.fixture(scope="module")
def client(small_export):
    opened = exported.open_export(small_export.directory)
    return testclient.TestClient(app.make_app(opened))


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


def test_a_large_file_is_refused(client, monkeypatch):
    monkeypatch.setattr(app, "MAX_BYTES", 100)
    response = client.post("/classify", content=b"x" * 101)
    assert response.status_code == 413
    assert "more than 100 bytes" in response.json()["detail"]


@pytest.mark.parametrize("limit", [100, 20 * 24 - 1])
def test_a_picture_of_many_pixels_is_refused_undecoded(
    client, monkeypatch, limit
):
    monkeypatch.setattr(pictures, "MAX_PIXELS", limit)
    picture = small_exports.encode(small_exports.IMAGES[0])
    response = client.post("/classify", content=picture)
    assert response.status_code == 413
    assert f"more than {limit} pixels" in response.json()["detail"]


def test_a_decompression_bomb_is_refused(client, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30)).save(buffer, "TIFF")
    response = client.post("/classify", content=buffer.getvalue())
    assert response.status_code == 413


def test_sixty_large_frames_are_answered_from_the_first(client):
    frames = [Image.new("L", (3000, 3000), shade) for shade in range(60)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    started = time.process_time()
    response = client.post("/classify", content=buffer.getvalue())
    assert response.status_code == 200
    assert time.process_time() - started < 1


def test_the_model_is_described(client):
    assert client.get("/model").json() == {
        "name": "efficientnet-b0",
        "training_fingerprint": "0123abcd4567efgh",
        "resolution": 16,
        "class_names": list(small_exports.CLASS_NAMES),
    }


def test_the_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert "Drop pictures here" in response.text
    assert "://" not in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
