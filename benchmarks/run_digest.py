"""What a run ends with, as one digest for each thing that must not change."""

import hashlib
import json
import pathlib
from typing import Any

import h5py
import pyarrow.parquet as pq

_UNTIMED = ("images_per_second", "input_wait_share")


def outcome(root: pathlib.Path) -> dict[str, str]:
    """Return name -> digest of weights, curves, labels and results of a run."""
    found: dict[str, Any] = {}
    for path in root.glob("*/*.weights.h5"):
        found[_name(path, root)] = _arrays(path)
    for path in root.glob("*/metrics.jsonl"):
        lines = map(json.loads, path.read_text().splitlines())
        found[_name(path, root)] = [
            sorted((k, v) for k, v in line.items() if k not in _UNTIMED)
            for line in lines
        ]
    for path in root.glob("*_[0-9]/**/*.parquet"):
        found[_name(path, root)] = pq.read_table(path).to_pydict()
    for path in root.glob("pseudo_labeled_[0-9]/*.tfrecord"):
        found[_name(path, root)] = path.read_bytes()
    found["export/manifest.json"] = (root / "export/manifest.json").read_text()
    found["results.json"] = [
        row | {"interval_95": _rounded(row.get("interval_95") or [])}
        for row in json.loads((root / "results.json").read_text())
    ]
    return {
        name: hashlib.sha256(repr(content).encode()).hexdigest()
        for name, content in sorted(found.items())
    }


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Return the names of what differs, or is missing in one of two."""
    return [
        name
        for name in sorted(first | second)
        if first.get(name) != second.get(name)
    ]


def _rounded(interval: list[float]) -> list[float]:
    # SciPy's releases add and divide in another order: the last bit differs.
    return [round(bound, 12) for bound in interval]


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
    return str(path.relative_to(root))


def _arrays(path: pathlib.Path) -> list[tuple[str, bytes]]:
    """Return every array of an HDF5 file."""
    arrays: dict[str, bytes] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return sorted(arrays.items())
