"""Unlabeled shards of whole files, which are listed where they are written.

The listing of a heap of hundreds of millions of images fits no memory. Here
the machine that starts the build holds the files' names, and each worker the
images of one shard.
"""

import dataclasses
import itertools

from data_prep.shards import shard_building, sidecars, splits
from data_prep.sources import items
from noisy_student_tf import configs, files
from noisy_student_tf.records import shards


@dataclasses.dataclass(frozen=True)
class FilesPlan:
    """One shard to write of whole files; see `shard_building.Plan`.

    Attributes:
        specification: Of the source.
        reader: Reads the files' pictures.
        list_file: Lists a file; see `items.FileSource`.
        paths: The files.
        directory: Of the shard.
        split: Its split's name.
        index: Its number in the split, of `count`.
        count: Shards of the split.
        max_side: See `pictures.normalize`.
        excluded_directory: Pictures of this labeled directory are left out.
        excluded_indexes: Indexes of shards whose ids are left out.
    """

    specification: str
    reader: items.Reader
    list_file: items.ListFile
    paths: tuple[str, ...]
    directory: str
    split: str
    index: int
    count: int
    max_side: int
    excluded_directory: str = ""
    excluded_indexes: tuple[str, ...] = ()

    @property
    def schema(self) -> shards.Schema:
        """How a record is parsed."""
        return "image"

    @property
    def num_items(self) -> int:
        """Pictures that were listed: none, they are found in the files."""
        return 0

    @property
    def shard_path(self) -> str:
        """The shard as the manifest names it: without its directory."""
        return shards.shard_name(self.split, self.index, self.count)

    @property
    def index_name(self) -> str:
        """Name of the index, without its directory."""
        return shards.index_name(self.split, self.index, self.count)

    @property
    def index_path(self) -> str:
        """Path of the index, whose existence says that the shard is done."""
        return files.join(self.directory, self.index_name)

    def identity(self) -> str:
        """Return what the shard's bytes depend on."""
        sizes = [f"{path} {files.size_bytes(path)}" for path in self.paths]
        return f"{self._as_listed(()).identity()} {' '.join(sizes)}"

    def write(self) -> None:
        """List the files and write their pictures."""
        listed = self.list_items()
        items.check_ids(self.specification, listed)
        taken = _read_ids(self.excluded_indexes)
        wanted = tuple(item for item in listed if item.image_id not in taken)
        self._as_listed(wanted).write(num_same_id=len(listed) - len(wanted))

    def list_items(self) -> list[items.Item]:
        """List the images of the files."""
        return [item for path in self.paths for item in self.list_file(path)]

    def _as_listed(
        self, listed: tuple[items.Item, ...]
    ) -> shard_building.ShardPlan:
        return shard_building.ShardPlan(
            specification=self.specification,
            reader=self.reader,
            items=listed,
            directory=self.directory,
            split=self.split,
            index=self.index,
            count=self.count,
            has_labels=False,
            max_side=self.max_side,
            excluded_directory=self.excluded_directory,
        )


def _read_ids(indexes: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(
        sidecars.read_column(list(indexes), "image_id").to_pylist()
    )


def plan_unlabeled(
    source: items.FileSource,
    *,
    directory: str,
    data: configs.DataConfig,
    labeled_directory: str = "",
    excluded_indexes: tuple[str, ...] = (),
) -> list[FilesPlan]:
    """Plan the unlabeled shards: neighboring files make one.

    Args:
        source: The files.
        directory: Of the shards.
        data: Number of shards, at most one a file, and stored size.
        labeled_directory: Pictures in it are left out; empty: none are.
        excluded_indexes: Indexes of shards whose ids are left out.
    """
    count = min(data.num_shards, len(source.paths))
    bounds = [len(source.paths) * index // count for index in range(count + 1)]
    return [
        FilesPlan(
            specification=source.specification,
            reader=source.reader,
            list_file=source.list_file,
            paths=source.paths[start:end],
            directory=directory,
            split=splits.UNLABELED,
            index=index,
            count=count,
            max_side=data.max_stored_side,
            excluded_directory=labeled_directory,
            excluded_indexes=excluded_indexes,
        )
        for index, (start, end) in enumerate(itertools.pairwise(bounds))
    ]
