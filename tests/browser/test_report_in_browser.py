import json
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import pytest
from PIL import Image

# Measures the page as a reader sees it, and leaves the numbers in the DOM.
_MEASURE = """
<script>
const images = [...document.images];
images.forEach(image => image.loading = "eager");
const rectangles = selector => [...document.querySelectorAll(selector)]
  .map(element => element.getBoundingClientRect());
document.documentElement.dataset.measured = JSON.stringify({
  page_width: document.documentElement.scrollWidth,
  window_width: window.innerWidth,
  num_images: images.length,
  num_broken: images.filter(i => i.complete && !i.naturalWidth).length,
  num_requests: performance.getEntriesByType("resource")
    .filter(entry => !entry.name.startsWith("data:")).length,
  plots: rectangles(".plot svg").map(r => [r.width, r.height]),
  heading: document.querySelector("h1").innerText,
});
</script>
"""


def run_chromium(chromium: str, *arguments: str) -> str:
    """Run the browser in a fresh profile and return what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                *arguments,
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout


def measure(chromium: str, path: str, tmp_path: pathlib.Path, width: int):
    """Return the measurements of a page in a window of some width."""
    copy = tmp_path / "measured.html"
    page = pathlib.Path(path).read_text()
    copy.write_text(page.replace("</body>", f"{_MEASURE}</body>"))
    dom = run_chromium(
        chromium, f"--window-size={width},900", "--dump-dom", copy.as_uri()
    )
    text = re.search(r'data-measured="([^"]*)"', dom)[1]
    return json.loads(text.replace("&quot;", '"').replace("&amp;", "&"))


def screenshot(chromium: str, path: str, target: pathlib.Path, *arguments):
    """Return the page as uint8 [height, width, 3]."""
    run_chromium(
        chromium,
        "--window-size=1280,4400",
        f"--screenshot={target}",
        *arguments,
        pathlib.Path(path).as_uri(),
    )
    return np.asarray(Image.open(target).convert("RGB"))


@pytest.mark.parametrize("width", [500, 820, 1280])
def test_the_page_fits_its_window(chromium, report_path, tmp_path, width):
    measured = measure(chromium, report_path, tmp_path, width)

    assert measured["window_width"] == width
    assert measured["page_width"] <= width
    assert measured["num_images"] > 100
    assert measured["num_broken"] == 0
    assert measured["num_requests"] == 0
    # A confusion matrix and ten curves of the teacher's classes among them.
    assert len(measured["plots"]) == 8 + 11
    assert all(min(size) > 100 for size in measured["plots"])
    assert measured["heading"].startswith("Student 84.0")


def test_light_and_dark(chromium, report_path, tmp_path):
    light = screenshot(chromium, report_path, tmp_path / "light.png")
    dark = screenshot(
        chromium,
        report_path,
        tmp_path / "dark.png",
        "--blink-settings=preferredColorScheme=0",
    )

    assert np.median(light) > 240
    assert np.median(dark) < 40
    # The heading's colors: the student's and the teacher's.
    assert (light == (0x14, 0x63, 0x9E)).all(-1).sum() > 500
    assert (light == (0xB7, 0x79, 0x1F)).all(-1).sum() > 500
    # Plots follow: axes are drawn in the page's own gray.
    assert (dark == (0x30, 0x34, 0x3B)).all(-1).sum() > 500
