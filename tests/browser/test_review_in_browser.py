"""A person's keys on the review page of a server that runs."""

import contextlib
import dataclasses
import html
import json
import pathlib
import re
import threading
import time

import pytest
import uvicorn
from fastapi import responses

from noisy_student_tf.records import corrections
from noisy_student_tf.review.page import app
from run_scripts import review as script
from tests.browser import test_report_in_browser as browser
from tests.review import small_run, small_session

CAT, DOG, OWL = small_run.CLASS_NAMES
KEYS = small_session.PICTURES.keys

# Presses keys as a hand would, and waits until the page has answered.
_HELPERS = """
const wait = async condition => {
  while (!condition()) await new Promise(done => setTimeout(done, 20));
};
const text = id => {
  const element = document.getElementById(id);
  return element.checkVisibility() ? element.innerText : "";
};
const footer = () => Number(text("footer").split(" ")[0]);
const press = key => (document.activeElement ?? document.body).dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const decide = async key => {
  const before = text("footer"), place = text("place");
  press(key);
  await wait(() => text("footer") !== before);
};
const seen = () => document.querySelectorAll(".tile.seen").length;
const show = found => document.documentElement.dataset.shown =
  JSON.stringify(found);
await wait(() => document.documentElement.dataset.ready);
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return small_session.write_run(str(tmp_path_factory.mktemp("run")))


@contextlib.contextmanager
def served(workdir, path: pathlib.Path, drive: str, lost: tuple[str, ...] = ()):
    """Serve a session whose page runs a script; yield the page's address."""
    listener = script.listen(0)
    port = listener.getsockname()[1]
    session = small_session.make(workdir, str(path), port=port)
    read = session.pictures.read
    session.pictures.read = lambda place: (
        b"lost" if place.key in lost else read(place)
    )
    application = app.make_app(session)

    @application.get(f"/{session.token}/driven")
    def driven():
        page = (pathlib.Path(app.__file__).parent / "page.html").read_text()
        tag = '<script type="module" src="drive"></script></body>'
        return responses.HTMLResponse(page.replace("</body>", tag))

    @application.get(f"/{session.token}/drive")
    def script_file():
        return responses.Response(
            _HELPERS + drive, media_type="text/javascript"
        )

    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"{session.address}driven"
    finally:
        server.should_exit = True
        thread.join()


def drive(chromium, workdir, path, code, *, width=1280, lost=()):
    """Return what a script on the page shows in the end."""
    with served(workdir, path, code, lost) as address:
        dom = browser.run_chromium(
            chromium,
            f"--window-size={width},900",
            "--virtual-time-budget=20000",
            "--dump-dom",
            address,
        )
    found = re.search(r'data-shown="([^"]*)"', dom)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found[1]))


def said(path):
    """Return key -> class of what holds."""
    held = corrections.merge(corrections.read(str(path)).corrections).answers
    return {
        key: held[small_run.image_id(key)].class_name
        for key in [*KEYS, *small_session.TRAIN.keys]
        if small_run.image_id(key) in held
    }


def test_keys_alone_suffice(chromium, workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    shown = drive(
        chromium,
        workdir,
        path,
        """
        const first = text("why");
        await decide("1");
        await decide("n");
        press("ArrowRight");
        await decide(" ");
        await decide("3");
        await decide("u");
        const undone = text("key");
        press("ArrowLeft");
        const before = text("answer");
        press("q");
        press("/");
        document.getElementById("wanted").value = "ca";
        document.getElementById("search").requestSubmit();
        await wait(() => footer() === 4);
        press("q");
        show({first, undone, before, missing: text("empty"),
              counts: text("queues")});
        """,
    )
    assert said(path) == {
        KEYS[0]: CAT,
        KEYS[1]: None,
        KEYS[3]: DOG,
        small_session.TRAIN.keys[0]: CAT,
    }
    assert shown["first"] == "Shown because <i>nobody</i> knows."
    assert shown["undone"] == KEYS[4]
    assert shown["before"] == f"ann: {DOG}"
    assert shown["missing"] == "No student yet"
    assert shown["counts"].startswith("Label these next37\nWrong labels?2")


def test_a_reload_and_a_new_server_go_on(chromium, workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    drive(chromium, workdir, path, 'await decide("1"); show(1);')
    # Cut in the middle of the next line, as by a kill.
    with open(path, "a") as file:
        file.write('{"image_id": "00')
    shown = drive(
        chromium,
        workdir,
        path,
        'const key = text("key"); await decide("2"); show(key);',
    )
    assert shown == KEYS[1]
    assert said(path) == {KEYS[0]: CAT, KEYS[1]: DOG}


def test_a_batch_but_for_some(chromium, workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    shown = drive(
        chromium,
        workdir,
        path,
        """
        press("g");
        await wait(() => seen() > 5);
        const numSeen = seen(), numTiles =
          document.querySelectorAll(".tile").length;
        press("ArrowRight"); press(" ");
        press("ArrowRight"); press("1");
        press("ArrowRight"); press("n");
        const states = [...document.querySelectorAll(".tile")].slice(0, 5)
          .map(tile => tile.innerText);
        press("Enter");
        await wait(() => footer() > 0);
        show({numSeen, numTiles, states, saved: footer()});
        """,
    )
    assert shown["states"] == [DOG, "left for later", CAT, "none of these", DOG]
    assert shown["numTiles"] == len(KEYS)
    # What was not on the screen is not decided.
    assert shown["saved"] == shown["numSeen"] - 1 < len(KEYS)
    held = said(path)
    assert KEYS[1] not in held
    assert (held[KEYS[0]], held[KEYS[2]], held[KEYS[3]]) == (DOG, CAT, None)
    assert len(held) == shown["saved"]

    drive(
        chromium,
        workdir,
        path,
        'await decide("u"); show(footer());',
    )
    assert said(path) == {}


def test_two_tabs(chromium, workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    shown = drive(
        chromium,
        workdir,
        path,
        """
        const session = await (await fetch("session")).json();
        const id = session.queues[0].entries[1].id;
        await fetch("answers", {
          method: "POST", headers: {"Content-Type": "application/json"},
          body: JSON.stringify({queue: "label_next",
            decisions: [{id, class_name: "dog"}]})});
        await decide("1");
        const key = text("key"), counted = footer();
        await fetch("undo", {method: "POST"});
        window.dispatchEvent(new Event("focus"));
        await wait(() => footer() === 1);
        show({key, counted});
        """,
    )
    # What the other tab decided is not asked again.
    assert shown == {"key": KEYS[2], "counted": 2}
    assert said(path) == {KEYS[1]: DOG}


def test_what_was_not_saved_is_told_and_asked_again(
    chromium, workdir, tmp_path
):
    path = tmp_path / "c.jsonl"
    shown = drive(
        chromium,
        workdir,
        path,
        """
        const real = window.fetch;
        window.fetch = () => Promise.reject(new TypeError("gone"));
        press("1");
        await wait(() => text("problem"));
        const problem = text("problem"), place = text("place");
        window.fetch = real;
        await decide("2");
        show({problem, place, now: text("problem")});
        """,
    )
    assert "was not saved" in shown["problem"]
    assert shown["place"] == "1 of 40"
    assert shown["now"] == ""
    assert said(path) == {KEYS[0]: DOG}


def test_what_cannot_be_seen_is_not_decided(chromium, workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    shown = drive(
        chromium,
        workdir,
        path,
        """
        await wait(() => text("lost"));
        const lost = text("lost");
        press("1");
        press("ArrowRight");
        await decide("1");
        press("g");
        await wait(() => seen() > 5 && document.querySelector(".tile.lost"));
        press("Enter");
        await wait(() => footer() > 5);
        show(lost);
        """,
        lost=(KEYS[0],),
    )
    assert "no longer be read" in shown
    assert KEYS[0] not in said(path)
    assert len(said(path)) > 5


@pytest.mark.parametrize(
    "names, keys",
    [
        (["cat", "dog"], {"cat": "1", "dog": "2"}),
        # Whoever types 7 means 7; n is a command.
        (["7", "12", "1", "n"], {"7": "7", "12": "2", "1": "1", "n": "3"}),
        ([f"class {n}" for n in range(40)], {}),
    ],
)
def test_classes_have_keys(
    chromium, workdir, tmp_path, monkeypatch, names, keys
):
    real = small_session.make
    monkeypatch.setattr(
        small_session,
        "make",
        lambda *arguments, **options: dataclasses.replace(
            real(*arguments, **options), class_names=names
        ),
    )
    shown = drive(
        chromium,
        workdir,
        tmp_path / "c.jsonl",
        """
        show([...document.querySelectorAll("#classes button")].map(
          each => [each.lastChild.textContent, each.firstChild.innerText]));
        """,
    )
    # Of too many classes the picture's best ones are shown.
    best = {DOG: "1", CAT: "2", OWL: "3"}
    assert dict(shown) == (keys or best)


@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_fits_its_window(chromium, workdir, tmp_path, width):
    measure = """
    const widths = [document.documentElement.scrollWidth];
    await wait(() => document.getElementById("picture").naturalWidth);
    const {bottom} = document.getElementById("classes").getBoundingClientRect();
    press("g");
    await wait(() => seen() > 5);
    widths.push(document.documentElement.scrollWidth);
    press("?");
    widths.push(document.documentElement.scrollWidth);
    show({widths, bottom});
    """
    path = tmp_path / "c.jsonl"
    shown = drive(chromium, workdir, path, measure, width=width)
    assert max(shown["widths"]) <= width
    # Picture and classes are on one screen.
    assert shown["bottom"] <= 900
