import json
import subprocess
import sys

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from study import run_records
from study.fashion_mnist import arms
from study.peers import fixmatch
from tests.study import fakes

CONFIG = arms.EXPERIMENT.resolve(
    arms.EXPERIMENT.arm("fixmatch"), seed=3, workdir="x"
)
# An interpreter that calls the first image of a split right, and keeps what it
# was given: it trains nothing.
STAND_IN = """#!{python}
import json, pathlib, sys
import numpy as np

request = json.load(open(sys.argv[2]))
folder = pathlib.Path(request["images"])
kept = {{path.stem: np.load(path).tolist() for path in folder.glob("*.npy")}}
json.dump(kept, open(folder.parent / "kept.json", "w"))
answer = {{"num_correct": {{split: 1 for split in request["splits"]}}}}
json.dump(answer, open(request["answer"], "w"))
"""


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    shape = (4, 28, 28)
    names = ("train", "validation", "test", "unlabeled")
    return {name: generator.integers(0, 256, shape, np.uint8) for name in names}


@pytest.fixture
def data(tmp_path, images):
    """A run's shards: four images of each split."""
    run = workdirs.Workdir(str(tmp_path / "noisy_student"))
    fakes.write_shards(run, images, [0, 3, 3, 9], num_classes=10)
    return run


def test_the_toolkit_gets_the_run_s_images_and_its_hits_become_rows(
    data, images, tmp_path
):
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable))
    stand_in.chmod(0o755)
    own = workdirs.Workdir(str(tmp_path / "fixmatch"))
    fixmatch.write(CONFIG, data, own.root, python=str(stand_in))
    kept = files.read_json(files.join(own.root, "kept.json"))
    assert kept.pop("unlabeled") == images["unlabeled"].tolist()
    for split in ("train", "validation", "test"):
        assert kept.pop(split) == images[split].tolist()
        assert kept.pop(f"{split}_labels") == [0, 3, 3, 9]
    # Nothing tells the labels of unlabeled images.
    assert not kept
    record = run_records.of_peer(own, CONFIG, "fixmatch")
    rows = record["results"]
    assert [(row["split"], row["accuracy"]) for row in rows] == [
        ("validation", 0.25),
        ("test", 0.25),
    ]
    # A quarter of four: from 5 % to 70 %, after Wilson.
    assert rows[1]["interval_95"] == pytest.approx([0.046, 0.699], abs=1e-3)
    assert not files.exists(files.join(own.root, "images"))


def test_network_steps_and_batch_are_a_student_s():
    asked = fixmatch.request(CONFIG, "x", num_labeled=100)
    assert asked["steps"] == 1000
    assert asked["labeled_batch_size"] == 16
    assert asked["unlabeled_ratio"] == 5
    assert asked["network"]["width"] == CONFIG.model.width
    assert asked["network"]["depth"] == CONFIG.model.depth
    assert asked["seed"] == 3
    json.dumps(asked)


def test_a_missing_environment_is_named_before_images_are_read(tmp_path):
    nothing = workdirs.Workdir(str(tmp_path / "nothing"))
    with pytest.raises(
        ValueError, match=r"peer_environments\.sh .peers semilearn"
    ):
        fixmatch.write(CONFIG, nothing, str(tmp_path / "x"), python="no/python")


def test_a_toolkit_that_fails_leaves_no_results(data, tmp_path):
    directory = str(tmp_path / "fixmatch")
    with pytest.raises(subprocess.CalledProcessError):
        fixmatch.write(CONFIG, data, directory, python="/bin/false")
    assert not files.exists(files.join(directory, "results.json"))
