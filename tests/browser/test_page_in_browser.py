"""Pictures are dropped on the page of a server that runs."""

import contextlib
import json
import re
import threading
import time

import numpy as np
import pytest
import uvicorn
from fastapi import responses
from PIL import Image

from noisy_student_tf.serving import app
from tests.browser import test_report_in_browser as browser
from tests.serving import small_exports

# Drops a picture and a text as a hand would, and waits for both answers.
_DROP = """
<script>
async function dropAndWait() {
  const picture = await (await fetch("picture")).blob();
  const files = new DataTransfer();
  files.items.add(new File([picture], "an animal.png", {type: "image/png"}));
  files.items.add(new File(["no picture"], "notes.txt"));
  document.getElementById("drop").dispatchEvent(
    new DragEvent("drop", {dataTransfer: files, bubbles: true}));
  while (document.querySelectorAll(".result h2").length < 2 ||
         [...document.querySelectorAll(".result h2")]
           .some(heading => heading.innerText === "…")) {
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  document.documentElement.dataset.shown = JSON.stringify({
    results: [...document.querySelectorAll(".result")].map(card => ({
      heading: card.querySelector("h2").innerText,
      text: card.innerText,
      bars: card.querySelectorAll(".bar").length,
      picture: card.querySelector("img").naturalWidth,
    })),
    about: document.getElementById("about").innerText,
    page_width: document.documentElement.scrollWidth,
    window_width: window.innerWidth,
  });
}
dropAndWait();
</script>
"""


@contextlib.contextmanager
def served(application):
    """Serve on a free port, and yield the address."""
    configuration = uvicorn.Config(application, port=0, log_level="warning")
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(small_export):
    application = app.make_app(small_export.directory)

    @application.get("/dropped", response_class=responses.HTMLResponse)
    def dropped():
        page = app.PAGE.read_text("utf-8")
        page = page.replace("</body>", f"{_DROP}</body>")
        return responses.HTMLResponse(page, headers=app.HEADERS)

    @application.get("/picture")
    def picture():
        content = small_exports.encode(small_exports.IMAGES[0])
        return responses.Response(content, media_type="image/png")

    with served(application) as address:
        yield address


@pytest.mark.parametrize("width", [500, 1280])
def test_dropped_files_are_classified(chromium, small_export, address, width):
    dom = browser.run_chromium(
        chromium,
        f"--window-size={width},900",
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"{address}/dropped",
    )
    text = re.search(r'data-shown="([^"]*)"', dom)[1]
    shown = json.loads(text.replace("&quot;", '"').replace("&amp;", "&"))
    (expected,) = small_exports.probabilities(
        small_export.model, small_exports.IMAGES[:1]
    )
    # The last one that was dropped comes first.
    refused, classified = shown["results"]
    assert refused["heading"] == "Not classified"
    assert "not a picture" in refused["text"]
    best = expected.argmax()
    assert classified["heading"] == small_exports.CLASS_NAMES[best]
    assert f"{100 * expected[best]:.1f} %" in classified["text"]
    assert classified["bars"] == 3
    assert classified["picture"] == 24
    assert "16 x 16 pixels, weights 0123abcd4567" in shown["about"]
    assert shown["page_width"] <= shown["window_width"] == width


def test_light_and_dark(chromium, address, tmp_path):
    medians = []
    for scheme in (1, 0):
        target = tmp_path / f"{scheme}.png"
        browser.run_chromium(
            chromium,
            "--window-size=1000,800",
            f"--screenshot={target}",
            "--virtual-time-budget=20000",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"{address}/dropped",
        )
        medians.append(np.median(np.asarray(Image.open(target).convert("L"))))
    assert medians[0] > 240
    assert medians[1] < 40
