"""Sets as they are published, measured with a model that sees colors."""

import json
import pathlib
import shutil

import av
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep.sources import evaluation_sources
from noisy_student_tf import files
from noisy_student_tf.evaluation import class_metrics, published
from noisy_student_tf.records import robustness_sets
from noisy_student_tf.stages import classifiers, measuring
from run_scripts import evaluate
from tests.run_scripts import scripts

COLORS = {
    "red": (200, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 200),
}
SIDE = 8


@tf.function
def mean_color(images):
    return tf.reduce_mean(images, axis=(1, 2)) / 16


def make_subject(**changes) -> classifiers.Classifier:
    return classifiers.Classifier(
        **{
            "name": "colors",
            "architecture": "efficientnet-l2",
            "logits_fn": mean_color,
            "num_classes": 3,
            "class_names": tuple(COLORS),
            "resolution": SIDE,
            "crop": "whole",
            "weights": "ema",
            **changes,
        }
    )


def write_picture(path: pathlib.Path, color) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), color).save(path)


def write_colors(directory: pathlib.Path, wrong: int = 0) -> None:
    """Write two pictures of each class, the first ones in a wrong color."""
    for place, name in enumerate(COLORS):
        for number in range(2):
            is_wrong = wrong > 2 * place + number
            color = (0, 0, 0) if is_wrong else COLORS[name]
            if is_wrong:
                color = COLORS["blue" if name != "blue" else "red"]
            write_picture(directory / name / f"{number}.png", color)


def measure(name, source, classifier=None, **options):
    options = {"batch_size": 4, "directory": "ram://measured", **options}
    return measuring.measure(
        [classifier or make_subject()],
        [measuring.EvaluationSet(name, str(source))],
        measuring.Options(**options),
    )


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_every_image_counts_once_whatever_the_batch(tmp_path, batch_size):
    write_colors(tmp_path / "set", wrong=2)
    (row,) = measure("own", f"folder:{tmp_path}/set", batch_size=batch_size)
    assert row["num_images"] == 6
    assert row["accuracy"] == pytest.approx(4 / 6)
    # Both red ones are called blue: no F1, 1, and 2 * 2 / (4 + 2).
    assert row["majority_rate"] == pytest.approx(1 / 3)
    assert row["macro_f1"] == pytest.approx((0 + 1 + 2 / 3) / 3)
    kept = class_metrics.read("ram://measured/colors/held_out_own.parquet")
    assert [each.name for each in kept.classes] == list(COLORS)
    assert kept.confusions == ((0, 2, 2), (1, 1, 2), (2, 2, 2))
    assert row["per_class_accuracy"] == [0.0, 1.0, 1.0]
    assert sum(images for images, _, _ in row["reliability"]) == 6


def test_a_part_of_the_classes_is_found_by_name(tmp_path):
    write_colors(tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "red")
    (row,) = measure("own", f"folder:{tmp_path}/set")
    assert (row["num_images"], row["accuracy"]) == (4, 1.0)


def test_other_classes_than_the_model_s_are_refused(tmp_path):
    write_colors(tmp_path / "set")
    write_picture(tmp_path / "set" / "pink" / "0.png", (250, 100, 150))
    with pytest.raises(ValueError, match=r"4 classes .* do not match the 3"):
        measure("own", f"folder:{tmp_path}/set")


def synset_subject():
    synsets = evaluation_sources.imagenet_synsets()
    first, second = (synsets[i] for i in published.IMAGENET_A_CLASSES[:2])

    def logits(images):
        # Class 0, which is not ImageNet-A's, is always the likeliest.
        red, green, _ = tf.unstack(mean_color(images), axis=1)
        classes = tf.constant([0, *published.IMAGENET_A_CLASSES[:2]])
        values = tf.stack([tf.fill(tf.shape(red), 99.0), red, green], 1)
        return tf.matmul(values, tf.one_hot(classes, 1000))

    classifier = make_subject(
        num_classes=1000, class_names=(), logits_fn=logits
    )
    return classifier, first, second, synsets[0]


def test_imagenet_a_is_scored_among_200_and_among_1000(tmp_path):
    classifier, first, second, other = synset_subject()
    write_picture(tmp_path / "a" / first / "0.png", COLORS["red"])
    write_picture(tmp_path / "a" / second / "0.png", COLORS["red"])
    (row,) = measure("imagenet_a", f"folder:{tmp_path}/a", classifier)
    assert row["num_classes"] == 200
    assert row["accuracy"] == 0.5
    assert row["accuracy_of_all_classes"] == 0.0
    assert row["macro_f1"] is row["majority_rate"] is None
    write_picture(tmp_path / "a" / other / "0.png", COLORS["red"])
    with pytest.raises(ValueError, match="not among the 200"):
        measure("imagenet_a", f"folder:{tmp_path}/a", classifier)


def test_real_labels_may_be_several_or_none(tmp_path):
    colors = ("red", "green", "blue")
    for number, name in enumerate(colors, start=1):
        file = f"ILSVRC2012_val_{number:08d}.JPEG"
        write_picture(tmp_path / "val" / name / file, COLORS[name])
    real = tmp_path / "real.json"
    real.write_text(json.dumps([[1, 0], [2], []]))
    source = f"folder:{tmp_path}/val"
    (row,) = measure("imagenet_real", source, real_labels=str(real))
    assert (row["num_images"], row["accuracy"]) == (2, 0.5)
    assert row["loss"] is row["auroc"] is None
    with pytest.raises(ValueError, match="--real_labels is missing"):
        measure("imagenet_real", source)


def write_corruptions(root: pathlib.Path, is_wrong) -> None:
    """Write one red picture a part; it is blue where it shall be wrong."""
    for name in robustness_sets.CORRUPTIONS:
        for severity in robustness_sets.SEVERITIES:
            color = COLORS["blue" if is_wrong(name, severity) else "red"]
            path = root / name / str(severity) / "red" / "0.png"
            write_picture(path, color)


def test_corruptions_as_published_are_normalized_by_alexnet(tmp_path):
    root = tmp_path / "c"
    write_corruptions(root, lambda name, severity: name == "fog")
    (row,) = measure("imagenet_c", root)
    assert row["errors"]["fog"] == [1.0] * 5
    assert row["accuracy"] == pytest.approx(14 / 15)
    alexnet = np.mean(published.ALEXNET_ERRORS["fog"])
    assert row["mce"] == pytest.approx(100 / alexnet / 15)
    assert row["normalized_by"] == "AlexNet"


def test_missing_corruptions_are_named(tmp_path):
    root = tmp_path / "c"
    write_corruptions(root, lambda name, severity: False)
    shutil.rmtree(root / "frost" / "3")
    shutil.rmtree(root / "snow")
    with pytest.raises(FileNotFoundError, match=r"6 of 75 .*snow/1") as error:
        measure("imagenet_c", root)
    assert "frost/3" in str(error.value)


def write_video(path: pathlib.Path, colors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for color in colors:
            pixels = np.full((32, 32, 3), COLORS[color], np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name in robustness_sets.PERTURBATIONS:
        write_video(root / name / "red" / "0.mp4", ["red", "blue", "blue"])
    return root


def test_flips_of_videos_follow_the_rule_of_their_kind(videos):
    (row,) = measure("imagenet_p", videos)
    flips = row["flip_probabilities"]
    # Noise is compared with the first frame, all else with the one before.
    assert flips["gaussian_noise"] == flips["shot_noise"] == 1.0
    assert flips["rotate"] == flips["snow"] == 0.5
    assert row["accuracy"] == pytest.approx(1 / 3)
    alexnet = published.ALEXNET_FLIP_PROBABILITIES
    assert row["mfr"] == pytest.approx(
        100 * np.mean([flips[name] / alexnet[name] for name in flips])
    )
    assert row["is_recalled"]
    assert row["mt5d"] is None


def test_missing_sequences_are_named(videos, tmp_path):
    root = tmp_path / "p"
    shutil.copytree(videos, root)
    shutil.rmtree(root / "tilt")
    with pytest.raises(FileNotFoundError, match=r"1 of 10 .*: tilt"):
        measure("imagenet_p", root)
    # Noise of difficulty 2 has folders of its own.
    with pytest.raises(FileNotFoundError, match="gaussian_noise_2"):
        measure("imagenet_p", videos, difficulty=2)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_an_unreadable_video_is_named(videos, tmp_path, content):
    root = tmp_path / "p"
    shutil.copytree(videos, root)
    (root / "rotate" / "red" / "0.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"rotate/red/0.mp4: .*unreadable"):
        measure("imagenet_p", root)


def test_attacks_follow_a_plain_set(tmp_path):
    write_colors(tmp_path / "set")
    rows = measure("own", f"folder:{tmp_path}/set", fgsm_epsilons=(100.0,))
    kinds = [(row.get("measure"), row["accuracy"]) for row in rows]
    assert kinds == [(None, 1.0), ("fgsm", 1.0), ("fgsm", 0.0)]


def test_a_set_without_a_name_is_refused():
    with pytest.raises(ValueError, match="accepted is NAME=SOURCE"):
        measuring.parse_set("folder:/data")


def write_saved_model(path: str, *, signature: str = "images") -> None:
    module = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
        ]
    )
    def serve(images):
        return {"logits": mean_color(images)}

    tf.saved_model.save(module, path, signatures={signature: serve})
    assets = {
        "model.json": {
            "name": "efficientnet-b0",
            "num_classes": 3,
            "class_names": list(COLORS),
        },
        "preprocessing.json": {"crop": "whole", "resolution": SIDE},
    }
    for name, content in assets.items():
        files.write_json(f"{path}/assets/{name}", content)


def test_a_saved_model_is_measured_and_attacked(tmp_path):
    path = str(tmp_path / "export")
    write_saved_model(path)
    write_colors(tmp_path / "set")
    classifier = classifiers.load(path)
    assert (classifier.name, classifier.architecture) == (
        "export",
        "efficientnet-b0",
    )
    rows = measure(
        "own",
        f"folder:{tmp_path}/set",
        classifier,
        fgsm_epsilons=(100.0,),
    )
    assert [row["accuracy"] for row in rows] == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="takes images of 8 pixels"):
        classifiers.load(path, resolution=16)


def test_an_export_of_another_version_is_told(tmp_path):
    path = str(tmp_path / "other")
    write_saved_model(path, signature="pixels")
    with pytest.raises(ValueError, match=r"not an export of this version.*pix"):
        classifiers.load(path)
    path = str(tmp_path / "old")
    write_saved_model(path)
    files.write_json(f"{path}/assets/preprocessing.json", {"size": 8})
    with pytest.raises(ValueError, match="no crop, resolution in assets"):
        classifiers.load(path)
    files.remove(f"{path}/assets/model.json")
    with pytest.raises(ValueError, match=r"no assets/model.json"):
        classifiers.load(path)
    with pytest.raises(FileNotFoundError, match=r"neither model.json nor"):
        classifiers.load(str(tmp_path))


def test_the_command_writes_results_and_a_page(tmp_path, capsys):
    path = str(tmp_path / "export")
    write_saved_model(path)
    write_colors(tmp_path / "set")
    flags = [
        f"--model={path},{path}",
        f"--sets=imagenet=folder:{tmp_path}/set",
        "--training.evaluation_batch_size=4",
        f"--output_dir={tmp_path}/out",
    ]
    scripts.run(evaluate, *flags, "--robustness", "--fgsm_epsilons=100")
    rows = files.read_json(f"{tmp_path}/out/results.json")
    assert [row["model"] for row in rows] == ["export"] * 4 + ["export (2)"] * 4
    page = files.read_text(f"{tmp_path}/out/evaluation.html")
    assert "Reliability on imagenet" in page
    for model in ("export", "export (2)"):
        assert f"<h3>{model} on imagenet, imagenet images</h3>" in page
    assert files.exists(f"{tmp_path}/out/export (2)/held_out_imagenet.parquet")
    assert "FGSM 100" in page
    # Of a B0, the released weights' number and the plotted ones.
    assert "78.7" in page
    assert "timm, released weights" in capsys.readouterr().out


def test_the_command_names_a_missing_flag(tmp_path):
    with pytest.raises(ValueError, match="--sets needs --model"):
        scripts.run(evaluate, "--sets=own=digits")
    path = str(tmp_path / "export")
    write_saved_model(path)
    with pytest.raises(ValueError, match="--fgsm_epsilons=2,x"):
        scripts.run(
            evaluate,
            f"--model={path}",
            "--sets=own=digits",
            "--robustness",
            "--fgsm_epsilons=2,x",
            f"--output_dir={tmp_path}",
        )
