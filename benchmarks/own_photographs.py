"""Run README's way from a file of weights and one's own photographs.

Crops of the photographs that scikit-learn and scikit-image ship are written as
`labeled/CLASS/N.jpg` and `unlabeled/N.jpg`; a class is the photograph that a
crop is of. A `.safetensors` file of an EfficientNet-B0 that nobody trained
stands in for released weights, so that the run shows that the way is open, not
where it leads. Flags after `--` go to the run.

    python -m benchmarks.own_photographs --workdir=runs/own_photographs -- \\
        --training.teacher_epochs=20 --training.student_epochs=12
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
from absl import app, flags

from benchmarks import photographs
from noisy_student_tf import configs
from noisy_student_tf.model import architectures, saved

flags.DEFINE_string("workdir", "runs/own_photographs", "Of everything.")
flags.DEFINE_integer("labeled_per_class", 20, "Pictures in labeled/CLASS.")
flags.DEFINE_integer("unlabeled_per_class", 50, "Of a class in unlabeled/.")

# In the order of `photographs.load`.
NAMES = ("temple", "flower", "astronaut", "coffee", "cat", "rocket")


def main(arguments: list[str]) -> None:
    """Write the pictures and the weights, import these, and run the loop."""
    root = pathlib.Path(flags.FLAGS.workdir)
    if not (root / "images").exists():
        write_pictures(root / "images.temporary")
        os.rename(root / "images.temporary", root / "images")
        write_untrained(root)
        run(
            "import_weights",
            f"--source={root}/tf_efficientnet_b0.safetensors",
            f"--output={root}/weights",
        )
    run(
        "noisy_student",
        "--preset=photos",
        f"--data.labeled=folder:{root}/images/labeled",
        f"--data.unlabeled=files:{root}/images/unlabeled",
        f"--model.initial_weights={root}/weights",
        "--self_training.initialize_students_from=initial_weights",
        f"--workdir={root}/run",
        *arguments[1:],
    )


def run(script: str, *arguments: str) -> None:
    """Run one of the project's commands."""
    command = [sys.executable, "-m", f"run_scripts.{script}", *arguments]
    subprocess.run(command, check=True)


def write_pictures(directory: pathlib.Path) -> None:
    """Write both folders."""
    generator = np.random.default_rng(1)
    num_labeled = flags.FLAGS.labeled_per_class
    num_unlabeled = flags.FLAGS.unlabeled_per_class
    (directory / "unlabeled" / "more").mkdir(parents=True)
    loaded = photographs.load()
    for index, (name, photograph) in enumerate(zip(NAMES, loaded, strict=True)):
        labeled = directory / "labeled" / name
        labeled.mkdir(parents=True)
        for i in range(num_labeled):
            crop(photograph, generator).save(labeled / f"{i}.jpg", quality=88)
        for i in range(num_unlabeled):
            # Some of them one folder deeper.
            folder = directory / "unlabeled" / ("more" if i % 2 else "")
            path = folder / f"{index * num_unlabeled + i}.jpg"
            crop(photograph, generator).save(path, quality=88)


def crop(
    photograph: np.ndarray, generator: np.random.Generator
) -> PIL.Image.Image:
    """Return a part of a photograph, perhaps mirrored, of another size."""
    share = generator.uniform(0.35, 0.8)
    rows, columns = (int(share * side) for side in photograph.shape[:2])
    top = generator.integers(photograph.shape[0] - rows + 1)
    left = generator.integers(photograph.shape[1] - columns + 1)
    part = photograph[top : top + rows, left : left + columns]
    part = np.ascontiguousarray(part[:, :: generator.choice([-1, 1])])
    width = int(generator.integers(240, 480))
    size = (width, width * rows // columns)
    return PIL.Image.fromarray(part).resize(size)


def write_untrained(root: pathlib.Path) -> None:
    """Write an untrained EfficientNet-B0 for ImageNet in timm's format."""
    spec = architectures.make_spec(
        configs.ModelConfig(), num_classes=1000, class_names=()
    )
    model = architectures.build(spec)
    directory = str(root / "untrained")
    saved.save(directory, model=model, ema_model=model, spec=spec)
    run(
        "export_weights",
        f"--source={directory}",
        f"--output={root}/tf_efficientnet_b0.safetensors",
    )


if __name__ == "__main__":
    app.run(main)
