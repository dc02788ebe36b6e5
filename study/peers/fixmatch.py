"""FixMatch and FreeMatch from the toolkit semilearn on the shards of a run.

The toolkit needs torch: it runs in an environment of its own (see
`benchmarks/peer_environments.sh`), in a process that gets images as arrays.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from noisy_student_tf import configs, files, workdirs
from study.peers import splits

_WORKER = os.path.join(os.path.dirname(__file__), "fixmatch_worker.py")
# The toolkit's own, but for the decay: its 0.999 averages as many steps as
# there are.
_LEARNING_RATE = 0.03
_THRESHOLD = 0.95
_THRESHOLD_DECAY = 0.999


def check_interpreter(python: str) -> None:
    """Check that the toolkit's environment is there.

    Raises:
        ValueError: It is not.
    """
    if not os.path.exists(python):
        raise ValueError(
            f"--semilearn_python={python}: no such file; accepted is the "
            "Python of an environment with semilearn. Make it with "
            "`bash benchmarks/peer_environments.sh .peers semilearn`."
        )


def write(
    config: configs.Config,
    data: workdirs.Workdir,
    directory: str,
    *,
    python: str,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Train, measure, and write `results.json` of the peer's own folder.

    Args:
        config: Network, batch, steps and seed are read.
        data: The run whose labeled and unlabeled shards are read.
        directory: Of the peer, on a local disk.
        python: An interpreter that has the toolkit.
        settings: See `request`.

    Raises:
        ValueError: There is no such interpreter, or a setting is unknown.
        subprocess.CalledProcessError: The toolkit failed.
    """
    check_interpreter(python)
    files.make_directories(directory)
    read = splits.read(data, config.model.resolution, splits.gray_levels)
    images = files.join(directory, "images")
    os.makedirs(images, exist_ok=True)
    for name, array in _arrays(read, config.model.resolution):
        np.save(files.join(images, f"{name}.npy"), array)
    num_images = {name: len(pixels) for name, (pixels, _) in read.items()}
    asked = request(
        config,
        directory,
        num_labeled=num_images["train"],
        settings=settings or {},
    )
    path = files.join(directory, "request.json")
    files.write_json(path, asked)
    subprocess.run([python, _WORKER, path], check=True)
    num_correct = files.read_json(asked["answer"])["num_correct"]
    hits = {
        split: (num_correct[split], num_images[split])
        for split in splits.HELD_OUT
    }
    files.write_json(
        files.join(directory, "results.json"),
        list(splits.result_rows(config, "student_1", "ema", hits)),
    )
    shutil.rmtree(images)


def _arrays(
    read: Mapping[str, splits.Split], resolution: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield gray images, uint8 [num_images, side, side], and labels."""
    for name, (pixels, labels) in read.items():
        levels = np.rint(255 * pixels).astype(np.uint8)
        yield name, levels.reshape(-1, resolution, resolution)
        if name != "unlabeled":
            yield f"{name}_labels", labels.astype(np.int64)


def num_views(config: configs.Config, settings: Mapping[str, Any]) -> int:
    """Return how many images a training sees, each unlabeled one twice.

    Args:
        config: See `write`; its labeled images are a number a class.
        settings: See `request`.
    """
    asked = request(
        config,
        "",
        num_labeled=config.data.labeled_per_class * config.data.num_classes,
        settings=settings,
    )
    views = asked["labeled_batch_size"] * (1 + 2 * asked["unlabeled_ratio"])
    return asked["steps"] * views


def request(
    config: configs.Config,
    directory: str,
    *,
    num_labeled: int,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the worker is asked for.

    Network, steps and batch are a student's; the rest is the toolkit's.

    Args:
        config: See `write`.
        directory: See `write`.
        num_labeled: Labeled training images.
        settings: In the place of these: `algorithm` (fixmatch or freematch),
            `steps`, `learning_rate`, `threshold` of FixMatch,
            `threshold_decay` of FreeMatch.

    Raises:
        ValueError: There is no such setting.
    """
    training, model = config.training, config.model
    steps_per_epoch = num_labeled / training.kept_labeled_batch_size
    asked = {
        "algorithm": "fixmatch",
        "threshold_decay": _THRESHOLD_DECAY,
        "images": files.join(directory, "images"),
        "answer": files.join(directory, "answer.json"),
        "splits": splits.HELD_OUT,
        "seed": config.seed,
        "steps": round(training.student_epochs * steps_per_epoch),
        "labeled_batch_size": training.labeled_batch_size,
        "unlabeled_ratio": round(training.unlabeled_ratio),
        "learning_rate": _LEARNING_RATE,
        "ema_decay": config.optimizer.ema_decay,
        "threshold": _THRESHOLD,
        "mean": model.mean_rgb[0],
        "std": model.std_rgb[0],
        "network": {
            "width": model.width,
            "depth": model.depth,
            "batch_norm_momentum": model.batch_norm_momentum,
        },
    }
    if unknown := set(settings or {}) - set(asked):
        raise ValueError(
            f"settings {sorted(unknown)}: accepted are {sorted(asked)}."
        )
    return {**asked, **(settings or {})}
