"""One heap with everything in it that people have in theirs."""

import json
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_prep import build_labeled, build_unlabeled, sources
from data_prep.shards import sidecars
from data_prep.sources import tfrecords
from noisy_student_tf import configs
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.records import schema, shards
from noisy_student_tf.serving import exported, served
from tests import one_decoder
from tests.data_prep import small_pictures
from tests.serving import small_exports

# Seeds of pictures; classes have 40, 6 and 1, and another one has `kinds`.
CLASSES = {
    "cat [1]": range(40),
    "dog,s": range(100, 106),
    "owl": range(200, 201),
}
HELD_OUT = range(300, 306)
UNLABELED = range(400, 420)
SHARED = 999


DRAWN = "drawing"


def kinds(seed: int) -> dict[str, bytes]:
    """Return files of kinds that decoders disagree about."""
    color = small_pictures.pixels(seed)
    gray = color[..., 0]
    clear = np.dstack([color, np.tile([0, 255], (10, 6)).astype(np.uint8)])
    palette = Image.fromarray(color).quantize(8)
    second = Image.fromarray(color[::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    encode = small_pictures.encode
    return {
        "clear.png": encode(clear),
        "clear.webp": encode(clear, "WEBP", lossless=True),
        "deep.png": encode(gray.astype(np.uint16) * 256 + 7),
        "drawing.gif": encode(palette, "GIF", transparency=3),
        "ink.png": encode(Image.fromarray(color).convert("1")),
        "moving.gif": encode(
            palette, "GIF", save_all=True, append_images=[second]
        ),
        "palette.png": encode(palette, transparency=3),
        "photo.avif": encode(color, "AVIF"),
        "printed.jpe": encode(Image.fromarray(color).convert("CMYK"), "JPEG"),
        "scan.tiff": encode(color, "TIFF"),
        "turned.jpg": encode(color, "JPEG", exif=exif),
        "turned.png": encode(color[::-1], exif=exif),
        "without suffix": encode(color[:, ::-1], "JPEG"),
    }


def png(*seeds: int) -> list[bytes]:
    return [small_pictures.png(seed) for seed in seeds]


def write_labeled(root: pathlib.Path) -> None:
    """Write class folders, and what cameras and systems add to them."""
    for name, seeds in CLASSES.items():
        for seed in seeds:
            path = f"{root}/{name}/more/{seed}.PNG"
            small_pictures.write(path, small_pictures.png(seed))
    for name in ("cat [1]", "dog,s"):
        small_pictures.write(f"{root}/{name}/same.png", *png(SHARED))
        small_pictures.write(f"{root}/{name}/._same.png", b"fork")
    for name, content in kinds(500).items():
        small_pictures.write(f"{root}/{DRAWN}/{name}", content)
    cat = root / "cat [1]"
    small_pictures.write(f"{cat}/IMG_1.DNG", b"x")
    small_pictures.write(f"{cat}/notes.txt", b"x")
    small_pictures.write(f"{cat}/truncated.png", png(1)[0][:80])
    small_pictures.write(f"{cat}/@eaDir/0.png/SYNOPHOTO_THUMB.jpg", *png(0))
    small_pictures.write(f"{root}/@eaDir/x.png", *png(0))
    small_pictures.write(f"{root}/__MACOSX/owl/._1.png", b"fork")
    small_pictures.write(f"{root}/.ipynb_checkpoints/x.png", *png(0))
    small_pictures.write(f"{root}/stray.png", *png(7))
    (cat / "u0.jpg").mkdir()
    os.symlink("..", cat / "again")
    os.symlink(".", root / "loop")
    os.mkfifo(cat / "pipe.png")


def write_held_out(root: pathlib.Path) -> None:
    """Write the same classes as Hugging Face writes them."""
    rows = [
        {"image": {"bytes": picture, "path": None}, "label": name}
        for number, picture in enumerate(png(*HELD_OUT))
        for name in [[*CLASSES][number % 3]]
    ]
    root.mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(rows), root / "test-00000-of-00001.parquet"
    )


def write_unlabeled(root: pathlib.Path) -> None:
    """Write pictures anywhere, some that are labeled, and other files."""
    for seed in UNLABELED:
        path = f"{root}/{seed % 3}/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    for name, content in kinds(600).items():
        small_pictures.write(f"{root}/kinds/{name}", content)
    small_pictures.write(f"{root}/copy.png", *png(CLASSES["owl"][0]))
    small_pictures.write(f"{root}/empty.png", b"")
    small_pictures.write(f"{root}/archive.zip", b"x")
    os.symlink("nowhere", root / "gone.png")
    os.symlink(root, root / "0" / "above")


def write_table(path: pathlib.Path) -> None:
    """Write a table of the labeled folders as a spreadsheet exports it."""
    lines = ["Bild;class;note"]
    for name, seeds in CLASSES.items():
        lines += [
            f'"..\\labeled\\{name}\\more\\{n}.PNG";{name};x' for n in seeds
        ]
    lines += [f"../labeled/{DRAWN}/{name};{DRAWN};x" for name in kinds(500)]
    lines += [lines[1], "../labeled/owl/lost.png;owl;x"]
    path.parent.mkdir(parents=True)
    path.write_text("\r\n".join(lines), "utf-16")


def write_samples(root: pathlib.Path) -> None:
    """Write held-out samples as WebDataset does, half with JSON."""
    members = {"__MACOSX/._0.png": b"fork", "readme.txt": b"x"}
    for number, picture in enumerate(png(*HELD_OUT)):
        name = [*CLASSES][number % 3]
        label = {"cls": name} if number < 3 else {"json": {"label": name}}
        members[f"{number:03d}.png"] = picture
        for suffix, content in label.items():
            text = content if suffix == "cls" else json.dumps(content)
            members[f"{number:03d}.{suffix}"] = text.encode()
    root.mkdir()
    small_pictures.write_tar(root / "held-out-00.tar", members)


def write_split_folders(root: pathlib.Path) -> None:
    """Write folders of splits, of which one is taken as unlabeled."""
    for name, content in kinds(600).items():
        small_pictures.write(f"{root}/train/{DRAWN}/{name}", content)
    small_pictures.write(f"{root}/train/owl/0.png", *png(*CLASSES["owl"]))
    small_pictures.write(f"{root}/train/cat [1]/1.png", *png(700))
    small_pictures.write(f"{root}/test/owl/2.png", *png(701))


@pytest.fixture(scope="module")
def heap(tmp_path_factory):
    """Write everything, below a folder whose name looks like a pattern."""
    root = tmp_path_factory.mktemp("heap [2024]")
    write_labeled(root / "labeled")
    write_held_out(root / "held out")
    write_unlabeled(root / "unlabeled")
    write_table(root / "tables" / "list.csv")
    write_samples(root / "packed")
    write_split_folders(root / "splits")
    return root


def build(root: pathlib.Path, folder: str, **places: str):
    """Build shards; return where, the two manifests and the configuration."""
    data = configs.DataConfig(
        **places,
        split="stratified",
        max_corrupt_fraction=0.1,
        # The picture of two classes trains and is held out.
        allow_overlap=True,
        num_shards=2,
    )
    labeled, unlabeled = (
        f"{root}/{folder}/{name}" for name in ("labeled", "unlabeled")
    )
    build_labeled.build(data=data, directory=labeled)
    build_unlabeled.build(
        data=data, directory=unlabeled, labeled_directory=labeled
    )
    return (
        root / folder,
        shards.read_manifest(labeled),
        shards.read_manifest(unlabeled),
        data,
    )


@pytest.fixture(scope="module")
def built(heap):
    """Build shards of folders and of Parquet files."""
    return build(
        heap,
        "shards",
        labeled=f"folder:{heap}/labeled",
        evaluation=f"parquet:{heap}/held out",
        unlabeled=f"files:{heap}/unlabeled",
    )


@pytest.fixture(scope="module")
def built_of_lists(heap):
    """Build shards of a table, of WebDataset's files and of split folders."""
    return build(
        heap,
        "shards of lists",
        labeled=f"csv:{heap}/tables/list.csv",
        evaluation=f"wds:{heap}/packed/held-out-{{00..00}}.tar",
        unlabeled=f"splits:{heap}/splits#train",
    )


def keys(root: pathlib.Path, folder: str) -> list[str]:
    directory = f"{root}/{folder}"
    return [
        key
        for split in shards.read_manifest(directory)["splits"]
        for path in shards.index_paths(directory, split)
        for key in sidecars.read_column([path], "key").to_pylist()
    ]


def test_the_right_images_are_labeled(built):
    root, labeled, *_ = built
    assert labeled["class_names"] == sorted([*CLASSES, DRAWN])
    expected = [
        f"{name}/more/{seed}.PNG"
        for name, seeds in CLASSES.items()
        for seed in seeds
    ]
    expected += [f"{DRAWN}/{name}" for name in kinds(500)]
    expected += [f"{name}/same.png" for name in ("cat [1]", "dog,s")]
    expected += [f"test-00000-of-00001.parquet/{n}" for n in range(6)]
    assert sorted(keys(root, "labeled")) == sorted(expected)
    counts = labeled["counts_per_class"]
    assert counts["test"] == [2, 2, 0, 2]
    # The class of one image trains.
    assert counts["validation"] == [4, 1, 1, 0]
    assert counts["train"] == [37, 6, 12, 1]


def test_what_was_left_out_is_reported_with_the_reason(built):
    _, labeled, *_ = built
    assert labeled["ignored"]["labeled"] == {
        ".DNG": 1,
        ".txt": 1,
        "hidden": 2,
        "@eaDir/": 1,
        "in no class folder": 1,
        "no regular file": 1,
        "link to a folder that is read already": 1,
    }
    (corrupt,) = labeled["corrupt"]
    assert corrupt["key"] == "cat [1]/truncated.png"
    assert corrupt["reason"]
    assert labeled["in_several_classes"] == [
        "cat [1]/same.png (cat [1]) = dog,s/same.png (dog,s)"
    ]


def test_the_right_images_are_unlabeled(built):
    root, _, unlabeled, _ = built
    expected = [f"{seed % 3}/{seed}.png" for seed in UNLABELED]
    expected += [f"kinds/{name}" for name in kinds(600)]
    assert sorted(keys(root, "unlabeled")) == sorted(expected)
    assert unlabeled["excluded"]["keys"] == ["copy.png"]
    assert unlabeled["ignored"]["unlabeled"] == {
        ".zip": 1,
        "link to a folder that is read already": 1,
    }
    reasons = {each["key"]: each["reason"] for each in unlabeled["corrupt"]}
    assert reasons == {
        "empty.png": "the file is empty",
        "gone.png": "no such file",
    }


def test_lists_and_packed_files_give_the_same_images(built_of_lists):
    root, labeled, unlabeled, _ = built_of_lists
    assert labeled["class_names"] == sorted([*CLASSES, DRAWN])
    assert labeled["counts_per_class"]["test"] == [2, 2, 0, 2]
    assert labeled["counts_per_class"]["train"] == [36, 5, 12, 1]
    assert labeled["ignored"] == {
        "labeled": {"line that repeats another": 1},
        "evaluation": {"hidden": 1, "sample without a picture": 1, ".txt": 1},
    }
    (lost,) = labeled["corrupt"]
    assert lost["key"].endswith("/owl/lost.png")
    assert lost["reason"] == "no such file"
    expected = [f"train/{DRAWN}/{name}" for name in kinds(600)]
    expected += ["train/cat [1]/1.png"]
    assert sorted(keys(root, "unlabeled")) == sorted(expected)
    assert unlabeled["excluded"]["keys"] == ["train/owl/0.png"]


def read_files(data: configs.DataConfig) -> dict[bytes, bytes]:
    """Return id -> file of every image that can be read."""
    found = {}
    for specification in (data.labeled, data.evaluation, data.unlabeled):
        source = sources.open_source(specification)
        images = source.list_items().images
        with source.reader(tuple(images)) as read:
            for item in images:
                try:
                    found[item.image_id] = read(item)
                except FileNotFoundError:
                    continue
    return found


def read_stored(root: pathlib.Path) -> dict[bytes, bytes]:
    """Return id -> picture of every image in shards."""
    return {
        schema.stored_bytes(example, schema.IMAGE_ID): schema.stored_bytes(
            example, schema.IMAGE
        )
        for folder in ("labeled", "unlabeled")
        for split in shards.read_manifest(f"{root}/{folder}")["splits"]
        for path in shards.open_split(f"{root}/{folder}", split).paths
        for _, _, example in tfrecords.read_examples(path)
    }


@pytest.mark.parametrize("name", ["built", "built_of_lists"])
def test_files_are_served_as_the_pixels_that_train(name, request):
    root, *_, data = request.getfixturevalue(name)
    originals, stored = read_files(data), read_stored(root)
    assert stored.keys() <= originals.keys()
    trained = [decode.decode(picture).numpy() for picture in stored.values()]
    given = [originals[image_id] for image_id in stored]
    for pixels, content in zip(trained, given, strict=True):
        np.testing.assert_array_equal(
            one_decoder.read(content).classified, pixels
        )
    model = small_exports.make_model()
    opened = served.in_memory(
        model=model,
        spec=vars(model.spec),
        preprocess=served.Preprocess(decoders.decode, small_exports.prepare),
    )
    answers = [each.probabilities for each in exported.classify(opened, given)]
    expected = small_exports.probabilities(model, trained)
    np.testing.assert_allclose(
        answers, expected, atol=small_exports.tolerance(model)
    )
