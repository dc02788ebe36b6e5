"""The files of one heap with everything in it that people have in theirs."""

import json
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data_prep import small_pictures

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


def write(root: pathlib.Path) -> None:
    """Write everything."""
    write_labeled(root / "labeled")
    write_held_out(root / "held out")
    write_unlabeled(root / "unlabeled")
    write_table(root / "tables" / "list.csv")
    write_samples(root / "packed")
    write_split_folders(root / "splits")
