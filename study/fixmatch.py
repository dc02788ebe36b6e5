"""FixMatch from the public toolkit semilearn on the shards of a run.

The toolkit needs torch: it runs in an environment of its own (see
`benchmarks/peer_environments.sh`), in a process that gets images as arrays.
"""

import os
import shutil
import subprocess
from typing import Any

import numpy as np

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.records import shards
from study import peers

_WORKER = os.path.join(os.path.dirname(__file__), "fixmatch_worker.py")
_SPLITS = ("validation", "test")
# The toolkit's own, but for the decay: its 0.999 averages as many steps as
# there are.
_LEARNING_RATE = 0.03
_THRESHOLD = 0.95


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
) -> None:
    """Train, measure, and write `results.json` of the peer's own folder.

    Args:
        config: Network, batch, steps and seed are read.
        data: The run whose labeled and unlabeled shards are read.
        directory: Of the peer, on a local disk.
        python: An interpreter that has the toolkit.

    Raises:
        ValueError: There is no such interpreter.
        subprocess.CalledProcessError: The toolkit failed.
    """
    check_interpreter(python)
    files.make_directories(directory)
    sets = {
        "unlabeled": shards.open_split(data.unlabeled, "unlabeled"),
        **{
            split: shards.open_split(data.labeled, split)
            for split in ("train", *_SPLITS)
        },
    }
    images = files.join(directory, "images")
    os.makedirs(images, exist_ok=True)
    for name, array in _arrays(sets, config.model.resolution).items():
        np.save(files.join(images, f"{name}.npy"), array)
    asked = request(config, directory, num_labeled=sets["train"].num_records)
    path = files.join(directory, "request.json")
    files.write_json(path, asked)
    subprocess.run([python, _WORKER, path], check=True)
    files.write_json(
        files.join(directory, "results.json"),
        _rows(config, sets, files.read_json(asked["answer"])),
    )
    shutil.rmtree(images)


def _arrays(
    sets: dict[str, shards.ShardSet], resolution: int
) -> dict[str, np.ndarray]:
    """Return gray images, uint8 [num_images, side, side], and labels."""
    arrays = {}
    for name, shard_set in sets.items():
        split = peers.read_split(shard_set, resolution)
        levels = np.rint(255 * split.pixels).astype(np.uint8)
        arrays[name] = levels.reshape(-1, resolution, resolution)
        if name != "unlabeled":
            arrays[f"{name}_labels"] = split.labels.astype(np.int64)
    return arrays


def request(
    config: configs.Config, directory: str, *, num_labeled: int
) -> dict[str, Any]:
    """Return what the worker is asked for.

    The network and the number of steps are a student's, as is the batch; the
    rest is the toolkit's.
    """
    training, model = config.training, config.model
    steps_per_epoch = num_labeled / training.kept_labeled_batch_size
    return {
        "images": files.join(directory, "images"),
        "answer": files.join(directory, "answer.json"),
        "splits": _SPLITS,
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


def _rows(
    config: configs.Config,
    sets: dict[str, shards.ShardSet],
    answer: dict[str, Any],
) -> list[dict[str, Any]]:
    return [
        peers.result_row(
            config,
            model="student_1",
            split=split,
            weights="ema",
            num_correct=answer["num_correct"][split],
            num_images=sets[split].num_records,
        )
        for split in _SPLITS
    ]
