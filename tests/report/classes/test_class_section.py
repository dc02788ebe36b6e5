import re

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.report import run_page
from noisy_student_tf.report.classes import class_section
from tests.report import synthetic_run


def make_page(workdir):
    page = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))
    start = page.index('<section id="classes">')
    return page[start : page.index("</section>", start)]


def text_of(page):
    page = re.sub(r"<svg.*?</svg>|</?b>", "", page, flags=re.DOTALL)
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", page))


def write_defects(workdir, *, split="test", folder="teacher", shift=0.0):
    """Thirty of a hundred images have a defect, and look rather like it."""
    rng = np.random.default_rng(0)
    labels = (np.arange(100) < 30).astype(int)
    margins = 2 * labels - 1.5 + rng.normal(size=100) + shift
    logits = np.stack([np.zeros(100), margins], axis=1).astype(np.float32)
    synthetic_run.write_held_out(
        workdir,
        logits,
        labels,
        names=["good <1>", "bad"],
        split=split,
        folder=folder,
    )
    return labels, margins


@pytest.fixture
def workdir(tmp_path):
    workdir = str(tmp_path / "run")
    synthetic_run.write_config(workdir)
    return workdir


def test_without_what_was_said_of_images_there_is_no_section(workdir):
    page = files.read_text(run_page.write_report(workdirs.Workdir(workdir)))
    assert 'id="classes"' not in page


def test_accuracy_stands_beside_the_most_frequent_class(workdir):
    labels, margins = write_defects(workdir)
    text = text_of(make_page(workdir))

    accuracy = 100 * np.mean((margins > 0) == labels)
    assert f"Accuracy {accuracy:.1f}\u202f%" in text
    assert "most frequent class, good &lt;1&gt;: 70.0\u202f%" in text
    assert "average precision of bad" in text
    assert "A threshold is not recommended" in text


def test_the_best_threshold_is_of_the_validation_images(workdir):
    labels, margins = write_defects(workdir)
    write_defects(workdir, split="validation", shift=-1.0)
    config = workdirs.read_config(workdirs.Workdir(workdir))

    (model,) = class_section.read(workdirs.Workdir(workdir), config)

    assert [part["split"] for part in model["splits"]] == ["test", "validation"]
    chosen = model["chosen"]
    # The margins of the validation images are 1 less, and so is the best.
    best = max(
        np.sort(margins),
        key=lambda m: (
            2 * (labels & (margins >= m)).sum() / ((margins >= m).sum() + 30)
        ),
    )
    below = margins[margins < best].max()
    shares = 1 / (1 + np.exp(1 - np.array([best, below])))
    assert chosen.threshold == pytest.approx(shares.mean(), abs=1e-6)
    is_called = 1 / (1 + np.exp(-margins)) >= chosen.threshold
    assert chosen.num_called == is_called.sum()
    assert len(model["points"]) == 9
    assert f"best: {chosen.threshold:.3f}" in text_of(make_page(workdir))


def test_each_class_has_its_curve(workdir):
    data = synthetic_run.digits()
    names = [f"digit {i}" for i in range(10)]
    labels = data.held_out_labels
    synthetic_run.write_held_out(
        workdir, data.held_out_logits, labels, names=names
    )
    page = make_page(workdir)

    assert page.count("<svg") == 1 + 10
    assert len(re.findall(r"precision over recall of digit \d", page)) == 10
    assert "Where to set the threshold" not in page
    # The counts of the first class stand in its row and in the picture.
    assert f">{np.sum(labels == 0)}</td>" in page


def test_of_many_classes_the_worst_are_shown(workdir):
    num_classes = 40
    labels = np.repeat(np.arange(num_classes - 1), 3)
    logits = 5 * np.eye(num_classes, dtype=np.float32)[labels]
    # Of class 7 all, of class 9 one is taken for class 8.
    logits[21:24] = logits[24]
    logits[27] = logits[24]
    names = [f"name {i}" for i in range(num_classes)]
    synthetic_run.write_held_out(workdir, logits, labels, names=names)
    page = make_page(workdir)
    text = text_of(page)

    assert "Never chosen: 1 of 40 classes (name 7)" in text
    assert "There are no test images of 1 of 40 classes (name 39)" in text
    assert "The 30 classes of the lowest F1, of 40" in text
    assert re.search(r"Images name 7 name 8 3 name 9 name 8 1 ", text)
    assert page.count("<svg") == class_section.MAX_CURVES
    table = page[page.index("<tbody>") :]
    assert table.index("name 7") < table.index("name 8") < table.index("name 0")


def test_one_kind_of_image_has_no_curve(workdir):
    logits = np.array([[1.0, 0.0]] * 3, np.float32)
    synthetic_run.write_held_out(
        workdir, logits, np.zeros(3, int), names=["good", "bad"]
    )
    page = make_page(workdir)
    assert page.count("<svg") == 1
    assert "AUROC <b>\u2013</b>" in page
    assert "There are no test images of 1 of 2 classes (bad)" in page
