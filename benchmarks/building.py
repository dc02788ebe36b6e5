"""From a folder of pictures to shards: our builders, peers, and limits.

Images a second, overall and of processor time, of `build_labeled` and
`build_unlabeled`, on all cores and on one, and of `find_duplicates`; beside
them, in the same run and on the same files: what TFDS and webdataset write of a
folder, the plain copy of the bytes into TFRecords, and decoding alone. Peers
check nothing: a file that is damaged is copied.

    bash benchmarks/peer_environments.sh .peers webdataset
    nice -n -5 python -m benchmarks.building --peers=.peers

Ratios are of images per second of processor time, which a busy neighbor hardly
changes, and say by their names what is divided by what; `cores_used` is of the
build of JPEGs, processor seconds per second. The last line is one JSON object.
What could not run is named in it.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import PIL.Image
from absl import app, flags

from benchmarks import photographs

flags.DEFINE_string("peers", ".peers", "Folder of the peers' environments.")
flags.DEFINE_integer("num_pictures", 1000, "Files of each kind but the last.")
flags.DEFINE_integer("num_tiny", 100_000, "Files of the last kind.")
flags.DEFINE_list("kinds", None, "Names of the only kinds to be measured.")

_NUM_CLASSES = 10
# Different pictures; the files of a kind repeat them, each with other bytes.
_NUM_DIFFERENT = 50
# Imported, since TFDS asks for the module that a builder's class stands in.
_START = (
    "import sys; from benchmarks import building_worker; "
    "building_worker.main(*sys.argv[1:])"
)
_OURS = (
    "build_labeled",
    "build_unlabeled",
    "build_labeled_on_one_core",
    "find_duplicates",
)
_LIMITS = ("copy", "decode")
_PEERS = {"tfds": "", "webdataset": "webdataset"}
_LEFT_OUT = {"img2dataset": "reads addresses, and decodes what we only check"}

Measured = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Kind:
    """Pictures of one kind.

    Attributes:
        size: Width and height in pixels.
        form: Pillow's name of the format.
        mode: Pillow's mode.
    """

    size: tuple[int, int]
    form: str
    mode: str = "RGB"


KINDS = {
    "jpeg": Kind((500, 375), "JPEG"),
    "gray_png": Kind((300, 300), "PNG", "L"),
    "rgb_png": Kind((300, 300), "PNG"),
    "small_png": Kind((28, 28), "PNG", "L"),
    "alpha_png": Kind((300, 300), "PNG", "RGBA"),
    "webp": Kind((500, 375), "WEBP"),
    "tiny": Kind((28, 28), "PNG", "L"),
}


def write_files(kind: Kind, count: int, directory: pathlib.Path) -> None:
    """Write pictures into class folders, no two of them alike."""
    width, height = kind.size
    crops = photographs.crops(_NUM_DIFFERENT, width=width, height=height)
    for index in range(count):
        folder = directory / f"class_{index % _NUM_CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = crops[index % _NUM_DIFFERENT].copy()
        pixels[0, : min(width, 24)] = np.unpackbits(
            np.frombuffer(index.to_bytes(3, "big"), np.uint8)
        )[: min(width, 24), np.newaxis] * np.uint8(255)
        image = PIL.Image.fromarray(pixels).convert(kind.mode)
        path = folder / f"{index:06d}.{kind.form.lower()}"
        image.save(path, kind.form, quality=90)


def measure(name: str, source: pathlib.Path, python: str) -> Measured | str:
    """Return what a worker measured, or why it could not."""
    with tempfile.TemporaryDirectory() as directory:
        finished = subprocess.run(
            [python, "-c", _START, name, str(source), directory],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
    lines = finished.stdout.splitlines()
    if finished.returncode or not lines:
        return (finished.stderr.strip().splitlines() or ["no output"])[-1]
    return json.loads(lines[-1])


def pythons() -> dict[str, str]:
    """Return each contender's interpreter, without peers that are missing."""
    found = dict.fromkeys((*_OURS, *_LIMITS), sys.executable)
    for name, environment in _PEERS.items():
        path = sys.executable
        if environment:
            folder = pathlib.Path(flags.FLAGS.peers) / environment
            path = str(folder / "bin" / "python")
        if os.path.exists(path):
            found[name] = path
    return found


def summarize(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the ratios of all kinds.

    Args:
        results: Kind -> contender -> what `measure` returned.
    """
    summary: dict[str, Any] = {}
    against_peers = []
    for kind, measured in results.items():
        good = {
            name: each for name, each in measured.items() if type(each) is dict
        }
        ours = good.get("build_labeled")
        if not ours:
            continue
        for limit in _LIMITS:
            if limit in good:
                summary[f"{kind}_over_{limit}"] = _ratio(ours, good[limit])
        peers = [good[name] for name in _PEERS if name in good]
        against_peers += [
            ours["images_per_second"] / peer["images_per_second"]
            for peer in peers
        ]
        one = good.get("build_labeled_on_one_core")
        if one:
            summary[f"{kind}_all_cores_over_one"] = (
                ours["images_per_second"] / one["images_per_second"]
            )
        summary[f"{kind}_cores_used"] = (
            ours["processor_seconds"] / ours["seconds"]
        )
    if "jpeg_cores_used" in summary:
        summary["cores_used"] = summary["jpeg_cores_used"]
    summary["over_best_peer"] = min(against_peers, default=None)
    return summary


def _ratio(ours: Measured, other: Measured) -> float:
    return (
        ours["images_per_processor_second"]
        / other["images_per_processor_second"]
    )


def main(_: list[str]) -> None:
    """Measure everything, print a table and the JSON line."""
    results: dict[str, dict[str, Any]] = {}
    interpreters = pythons()
    for name, kind in KINDS.items():
        if flags.FLAGS.kinds and name not in flags.FLAGS.kinds:
            continue
        is_tiny = name == "tiny"
        count = flags.FLAGS.num_tiny if is_tiny else flags.FLAGS.num_pictures
        with tempfile.TemporaryDirectory() as directory:
            source = pathlib.Path(directory)
            write_files(kind, count, source)
            results[name] = {}
            for contender, python in interpreters.items():
                found = measure(contender, source, python)
                results[name][contender] = found
                print(
                    f"{name:10} {contender:26} {_describe(found)}", flush=True
                )
    missing = [name for name in _PEERS if name not in interpreters]
    print(
        json.dumps(
            {
                **summarize(results),
                "missing_peers": missing,
                "left_out": _LEFT_OUT,
                "results": results,
            }
        )
    )


def _describe(measured: Measured | str) -> str:
    if isinstance(measured, str):
        return measured
    return (
        f"{measured['images_per_second']:8,.0f} images/s "
        f"{measured['images_per_processor_second']:8,.0f} a processor second"
    )


if __name__ == "__main__":
    app.run(main)
