import io

import pytest
from fastapi import testclient
from PIL import Image

from noisy_student_tf.records import corrections
from noisy_student_tf.review.page import app
from tests.review import small_run, small_session

ADDRESS = f"http://127.0.0.1:8502/{small_session.TOKEN}"
IDS = [each.hex() for each in small_session.PICTURES.ids()]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return small_session.write_run(str(tmp_path_factory.mktemp("run")))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "corrections.jsonl")


@pytest.fixture
def client(workdir, path):
    application = app.make_app(small_session.make(workdir, path))
    return testclient.TestClient(application)


def post(client, decisions, *, since=0, **changes):
    batch = {
        "queue": "label_next",
        "decisions": [
            {"id": image_id, "class_name": name} for image_id, name in decisions
        ],
    }
    return client.post(
        f"{ADDRESS}/answers?since={since}", json={**batch, **changes}
    )


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get(f"{ADDRESS}/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name, kind in (
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("grid.js", "text/javascript"),
        ("state.js", "text/javascript"),
    ):
        found = client.get(f"{ADDRESS}/{name}")
        assert found.headers["content-type"].startswith(kind)
        assert "://" not in found.text
    assert client.get(f"{ADDRESS}/app.py").status_code == 404


def test_queues_are_described(client):
    session = client.get(f"{ADDRESS}/session").json()
    assert session["class_names"] == small_run.CLASS_NAMES
    first, second, third = session["queues"]
    assert [each["id"] for each in first["entries"]] == IDS
    assert first["entries"][0]["best"][0] == ["dog", 0.5]
    assert second["entries"][2]["label"] == small_run.CLASS_NAMES[2]
    assert third["missing"] == "No student yet"


def test_a_decision_is_saved_with_what_was_shown(client, path):
    answer = post(client, [(IDS[0], "cat")]).json()
    assert answer["answers"] == {IDS[0]: {"class_name": "cat", "who": "ann"}}
    (said,) = corrections.read(path).corrections
    assert said.image_id.hex() == IDS[0]
    assert said.shown == {
        "queue": "label_next",
        "model": "student_1",
        "best": [["dog", 0.5], ["cat", 0.3], [small_run.CLASS_NAMES[2], 0.2]],
        "label": None,
    }


def test_a_batch_is_saved_and_taken_back(client, path):
    version = post(client, [(IDS[0], "cat")]).json()["version"]
    post(client, [(IDS[1], "dog"), (IDS[2], None)], since=version)
    undone = client.post(f"{ADDRESS}/undo?since=3").json()
    assert set(undone["undone"]) == {IDS[1], IDS[2]}
    assert undone["answers"] == {IDS[1]: None, IDS[2]: None}
    everything = client.get(f"{ADDRESS}/answers").json()["answers"]
    assert everything[IDS[0]]["class_name"] == "cat"
    assert (
        len(corrections.merge(corrections.read(path).corrections).answers) == 1
    )


@pytest.mark.parametrize(
    ("decisions", "changes", "status", "message"),
    [
        ([(IDS[0], "cow")], {}, 422, "no class 'cow'"),
        ([("00", "cat")], {}, 422, "no image of label_next"),
        ([(IDS[0], "cat")], {"queue": "wrong_labels"}, 422, "no image"),
        ([(IDS[0], "cat")], {"queue": "x"}, 404, "no queue"),
        ([(IDS[0], "cat")], {"more": 1}, 422, "forbidden"),
    ],
)
def test_what_is_no_decision_is_refused(
    client, path, decisions, changes, status, message
):
    response = post(client, decisions, **changes)
    assert response.status_code == status
    assert message in response.text
    assert client.get(f"{ADDRESS}/answers").json()["answers"] == {}


def test_a_full_disk_is_told(workdir):
    session = small_session.make(workdir, "/dev/full")
    client = testclient.TestClient(app.make_app(session))
    response = post(client, [(IDS[0], "cat")])
    assert response.status_code == 507
    assert "Not saved" in response.json()["detail"]
    assert "No space left" in response.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8502"}, 200),
        ({"origin": "http://127.0.0.1:8502"}, 200),
        ({"host": "127.0.0.1"}, 403),
        ({"host": "127.0.0.1:9"}, 403),
        ({"host": "evil.example:8502"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:8502"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_only_this_machines_own_page_is_answered(client, headers, status):
    response = client.get(f"{ADDRESS}/session", headers=headers)
    assert response.status_code == status
    assert response.headers["referrer-policy"] == "no-referrer"
    body = {"queue": "label_next", "decisions": []}
    response = client.post(f"{ADDRESS}/answers", json=body, headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("place", ["/", "/session", "/secre/session", "//"])
def test_without_the_token_nothing_is_answered(client, place):
    response = client.get(f"http://127.0.0.1:8502{place}")
    assert response.status_code == 403
    assert "lacks the token" in response.text


def test_pictures_come_one_by_one(client):
    address = f"{ADDRESS}/picture/label_next"
    response = client.get(f"{address}/1")
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (24, 24)
    assert client.get(f"{address}/1?size=whole").status_code == 200
    for wrong in ("40", "-1", "1?size=huge"):
        assert client.get(f"{address}/{wrong}").status_code == 404


def test_a_picture_that_can_no_longer_be_read(workdir, path, monkeypatch):
    session = small_session.make(workdir, path)
    client = testclient.TestClient(app.make_app(session))
    monkeypatch.setattr(session.pictures, "read", lambda place: b"damaged")
    response = client.get(f"{ADDRESS}/picture/label_next/0")
    assert response.status_code == 410
    assert "no longer be read" in response.json()["detail"]


def test_large_pictures_are_made_small():
    output = io.BytesIO()
    Image.new("RGB", (300, 100), "red").save(output, "png")
    content, kind = app.shrink(output.getvalue(), 64)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (64, 21)
