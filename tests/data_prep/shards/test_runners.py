"""Selection and relabeling on several runners."""

import functools
import importlib.util
import pathlib

import numpy as np
import pytest

from data_prep import write_pseudo_labeled
from data_prep.shards import beam_shards
from noisy_student_tf import configs
from noisy_student_tf.pseudo_labels import select
from tests.data_prep import test_write_pseudo_labeled
from tests.pseudo_labels import synthetic

_RUNNERS = {
    "local": ("local", ()),
    "in process": ("DirectRunner", ()),
    "processes": (
        "DirectRunner",
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    ),
}
# pip install "apache-beam[dask]"; its local cluster has several processes.
if importlib.util.find_spec("distributed"):
    _RUNNERS["dask"] = ("DaskRunner", ("--dask_partition_size=1",))
# It starts eight processes for a selection: relabeling proves that it works.
_SELECTING = [name for name in _RUNNERS if name != "processes"]


@pytest.fixture
def runner(request, monkeypatch):
    """Return the runner with its options."""
    # Workers of their own process import what they are sent.
    root = str(pathlib.Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    return beam_shards.Beam(*_RUNNERS[request.param])


@pytest.fixture
def inputs(tmp_path):
    """Images and predictions of three shards."""
    generator = np.random.default_rng(1)
    images = tmp_path / "unlabeled"
    test_write_pseudo_labeled.write_images(images, range(30), [10, 20])
    synthetic.write_predictions(
        tmp_path / "predictions",
        generator.integers(0, 3, 30),
        generator.random(30),
        num_classes=3,
        cuts=[10, 20],
        unlabeled=test_write_pseudo_labeled.fingerprint(images),
    )
    return tmp_path


def run_selection(root, name, map_reduce):
    select.select(
        predictions_directory=str(root / "predictions"),
        directory=str(root / name),
        selection=configs.SelectionConfig(images_per_class=5),
        num_classes=3,
        seed=0,
        map_reduce=map_reduce,
    )
    return test_write_pseudo_labeled.contents(root / name)


@pytest.mark.parametrize("runner", _SELECTING, indirect=True)
def test_every_runner_selects_what_one_process_selects(inputs, runner):
    there = functools.partial(
        beam_shards.map_reduce, directory=str(inputs), beam=runner
    )
    assert run_selection(inputs, "here", select.one_by_one) == run_selection(
        inputs, "there", there
    )


@pytest.mark.parametrize("runner", list(_RUNNERS), indirect=True)
def test_every_runner_writes_all_selected_images(inputs, runner):
    run_selection(inputs, "selection", select.one_by_one)
    write_pseudo_labeled.write(
        images_directory=str(inputs / "unlabeled"),
        predictions_directory=str(inputs / "predictions"),
        selection_directory=str(inputs / "selection"),
        directory=str(inputs / "out"),
        iteration=1,
        beam=runner,
    )
    found = {
        parsed["image_id"].numpy(): copies
        for records in test_write_pseudo_labeled.read(inputs)
        for parsed, copies in records
    }
    assert found == synthetic.read_selection(inputs / "selection")


def test_many_elements_travel_in_few_packs():
    elements = [("gs://bucket/run", index) for index in range(5000)]
    packs = beam_shards.pack(elements)
    assert len(packs) <= 1024
    assert [each for p in packs for each in beam_shards.unpack(p)] == elements
