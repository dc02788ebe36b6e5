"""Images that are files: in class folders, split folders, or any folder."""

import collections
import contextlib
from collections.abc import Iterator, Mapping, Sequence

from data_prep.sources import items
from noisy_student_tf import files, heaps

_IN_NO_CLASS = "in no class folder"

# Names of folders -> the split that they hold.
_SPLITS = {
    "train": items.TRAIN,
    "training": items.TRAIN,
    "val": items.VALIDATION,
    "valid": items.VALIDATION,
    "validation": items.VALIDATION,
    "test": items.TEST,
    "testing": items.TEST,
    "unlabeled": items.UNLABELED,
    "unlabelled": items.UNLABELED,
}


# The label of a folder's pictures, and their split.
_Place = tuple[int | None, str]


@contextlib.contextmanager
def read_files(_: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what reads a picture's file; a locator is its whole path."""
    yield lambda item: files.read_bytes(item.locator)


def open_folder(directory: str) -> items.Source:
    """Open `folder:DIR`: a folder a class, pictures at any depth below.

    Raises:
        FileNotFoundError: The directory is missing.
        ValueError: It has no class folders, or folders of splits.
    """
    specification = f"folder:{directory}"
    _check_directory(directory, specification)
    class_names = find_classes(directory)
    if not class_names:
        raise ValueError(
            f"{specification}: the folder has no class folders. Put the images "
            "of each class into a folder named after the class, or use "
            f"files:{directory} for images without classes."
        )
    if _are_splits(directory, class_names):
        raise ValueError(
            f"{specification}: its folders {', '.join(class_names)} are "
            "splits, and not classes: they hold folders and no pictures. Write "
            f"splits:{directory}."
        )
    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=read_files,
        list_items=lambda: _list(
            directory,
            {name: (label, "") for label, name in enumerate(class_names)},
            around=("",),
        ),
    )


def find_classes(directory: str) -> tuple[str, ...]:
    """Return the names of the class folders in a directory, in their order.

    Raises:
        ValueError: A name cannot be that of a class.
    """
    return items.sort_class_names(heaps.list_folders(directory))


def _are_splits(directory: str, names: tuple[str, ...]) -> bool:
    known = [_SPLITS.get(name.lower()) for name in names]
    return (
        None not in known
        and items.TRAIN in known
        and all(
            _holds_folders_alone(files.join(directory, name))
            for name, split in zip(names, known, strict=True)
            if split != items.UNLABELED
        )
    )


def _holds_folders_alone(directory: str) -> bool:
    return bool(heaps.list_folders(directory)) and not any(
        items.has_image_extension(name)
        and not files.is_directory(files.join(directory, name))
        for name in files.list_directory(directory)
    )


def open_splits(argument: str) -> items.Source:
    """Open `splits:DIR` or `splits:DIR#SPLIT`: folders of train, val, test.

    Below each lie class folders; without them the images have no classes.
    What lies in `unlabeled` has none either. `#SPLIT`, a folder's name, opens
    that one alone, whose images then are of no split.

    Raises:
        FileNotFoundError: The directory or the split is missing.
        ValueError: No folder is named after a split.
    """
    specification = f"splits:{argument}"
    directory, _, chosen = argument.partition("#")
    found = _find_splits(specification, directory, chosen)
    classes = {
        name: heaps.list_folders(files.join(directory, name))
        for name, split in found.items()
        if split != items.UNLABELED
    }
    class_names = items.sort_class_names(
        each for names in classes.values() for each in names
    )
    labels = {name: label for label, name in enumerate(class_names)}
    places: dict[str, _Place] = {}
    for name, split in found.items():
        for each in classes.get(name, ()):
            places[f"{name}/{each}"] = (labels[each], "" if chosen else split)
        if not classes.get(name):
            # Pictures beside those that have classes.
            is_rest = bool(class_names) and not chosen
            places[name] = (None, items.UNLABELED if is_rest else "")
    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=read_files,
        list_items=lambda: _list(
            directory,
            places,
            around=[name for name in found if classes.get(name)],
        ),
    )


def _find_splits(
    specification: str, directory: str, chosen: str
) -> dict[str, str]:
    """Return folder -> the split that it holds."""
    _check_directory(directory, specification)
    found = {
        name: _SPLITS[name.lower()]
        for name in heaps.list_folders(directory)
        if name.lower() in _SPLITS and chosen in ("", name)
    }
    if not found:
        raise ValueError(
            f"{specification}: no folder {chosen or 'of a split'} is in it. "
            f"Folders of splits are named {', '.join(_SPLITS)}."
        )
    return found


def open_files(directory: str) -> items.Source:
    """Open `files:DIR`: pictures without classes, at any depth.

    Raises:
        FileNotFoundError: The directory is missing.
    """
    specification = f"files:{directory}"
    _check_directory(directory, specification)
    return items.Source(
        specification=specification,
        class_names=(),
        reader=read_files,
        list_items=lambda: _list(directory, {"": (None, "")}),
    )


def _list(
    directory: str, places: Mapping[str, _Place], around: Sequence[str] = ()
) -> items.Listing:
    """List the pictures below folders of a directory.

    Args:
        directory: Its name stands in the ids.
        places: Folder -> what its pictures are.
        around: Folders whose own files are no images of any class.
    """
    name = items.base_name(directory)
    found = heaps.find_pictures(
        directory,
        tuple(places),
        is_picture=items.has_image_extension,
        begins_as_picture=items.begins_as_picture,
    )
    ignored = found.ignored + _count_outside(directory, around)
    images = [
        items.make_item(
            name, key, label, files.join(directory, key), split=split
        )
        for folder, (label, split) in places.items()
        for key in found.pictures[folder]
    ]
    return items.Listing(images, ignored)


def _count_outside(
    directory: str, folders: Sequence[str]
) -> collections.Counter[str]:
    return collections.Counter(
        _IN_NO_CLASS
        if items.has_image_extension(entry.name)
        else heaps.suffix_of(entry.name)
        for folder in folders
        for entry in files.scan_directory(files.join(directory, folder))
        if not heaps.is_left_alone(entry.name) and not entry.is_directory()
    )


def _check_directory(directory: str, specification: str) -> None:
    if not files.is_directory(directory):
        raise FileNotFoundError(
            f"{specification}: there is no such folder. Check the path; it is "
            "taken relative to the working directory."
        )
