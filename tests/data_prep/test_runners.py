"""Selection, relabeling and the search for duplicates on several runners."""

import functools
import importlib.util
import os

import numpy as np
import pytest

from data_prep import beam_shards, find_duplicates, write_pseudo_labeled
from noisy_student_tf import config
from noisy_student_tf.pseudo_labels import select
from tests.data_prep import small_pictures, test_write_pseudo_labeled
from tests.pseudo_labels import synthetic

_RUNNERS = {
    "in process": ("DirectRunner", ()),
    "processes": (
        "DirectRunner",
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    ),
    # pip install "apache-beam[dask]"; its local cluster has several processes.
    "dask": ("DaskRunner", ()),
}


@pytest.fixture(params=list(_RUNNERS))
def runner(request, monkeypatch):
    """Return the runner's name and options."""
    name, options = _RUNNERS[request.param]
    if name == "DaskRunner" and not importlib.util.find_spec("distributed"):
        pytest.skip("apache-beam[dask] is not installed")
    # Workers of their own process import what they are sent.
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    monkeypatch.setenv("PYTHONPATH", root)
    return {"runner": name, "beam_options": options}


def test_every_runner_writes_what_one_process_writes(tmp_path, runner):
    generator = np.random.default_rng(1)
    test_write_pseudo_labeled.write_images(
        tmp_path / "unlabeled", range(30), [10, 20]
    )
    synthetic.write_predictions(
        tmp_path / "predictions",
        generator.integers(0, 3, 30),
        generator.random(30),
        num_classes=3,
        cuts=[10, 20],
        unlabeled=test_write_pseudo_labeled.fingerprint(tmp_path / "unlabeled"),
    )

    def run(name, map_reduce):
        select.select(
            predictions_directory=str(tmp_path / "predictions"),
            directory=str(tmp_path / name),
            selection=config.SelectionConfig(images_per_class=5),
            num_classes=3,
            seed=0,
            map_reduce=map_reduce,
        )
        return test_write_pseudo_labeled.contents(tmp_path / name)

    there = functools.partial(
        beam_shards.map_reduce, directory=str(tmp_path / "there"), **runner
    )
    assert run("here", select.one_by_one) == run("there", there)
    write_pseudo_labeled.write(
        unlabeled_directory=str(tmp_path / "unlabeled"),
        predictions_directory=str(tmp_path / "predictions"),
        selection_directory=str(tmp_path / "there"),
        directory=str(tmp_path / "out"),
        iteration=1,
        beam_runner=runner["runner"],
        beam_options=runner["beam_options"],
    )
    records = test_write_pseudo_labeled.read(tmp_path)
    assert sum(map(len, records)) == len(
        synthetic.read_selection(tmp_path / "there")
    )


def test_an_error_on_a_worker_names_the_shard(tmp_path, runner):
    with pytest.raises(Exception, match="nowhere"):
        beam_shards.map_reduce(
            ["nowhere"],
            os.stat,
            max,
            directory=str(tmp_path),
            **runner,
        )
    assert small_pictures.png(0)
    assert find_duplicates.find
