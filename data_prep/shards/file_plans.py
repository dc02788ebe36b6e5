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


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilesPlan(shard_building.ListedPlan):
    """One shard to write of whole files, whose pictures it lists itself.

    Attributes:
        list_file: Lists a file; see `items.FileSource`.
        paths: The files.
        excluded_indexes: Indexes of shards whose ids are left out.
    """

    list_file: items.ListFile
    paths: tuple[str, ...]
    excluded_indexes: tuple[str, ...] = ()

    def identity(self) -> str:
        """Return what the shard's bytes depend on."""
        sizes = [f"{path} {files.size_bytes(path)}" for path in self.paths]
        return f"{super().identity()} {' '.join(sizes)}"

    def write(self) -> None:
        """List the files and write their pictures."""
        listed = [item for path in self.paths for item in self.list_file(path)]
        items.check_ids(self.specification, listed)
        taken = sidecars.read_ids(self.excluded_indexes)
        wanted = [item for item in listed if item.image_id not in taken]
        self.write_items(wanted, num_same_id=len(listed) - len(wanted))


def plan_unlabeled(
    source: items.FileSource,
    *,
    directory: str,
    data: configs.DataConfig,
    labeled_directory: str = "",
    excluded_indexes: tuple[str, ...] = (),
) -> list[FilesPlan]:
    """Plan the unlabeled shards, at most one a file, of neighboring files.

    Left out are pictures of the labeled directory, if there is one, and the ids
    of some indexes.
    """
    count = min(data.num_shards, len(source.paths))
    bounds = [len(source.paths) * index // count for index in range(count + 1)]
    return [
        FilesPlan(
            specification=source.specification,
            reader=source.reader,
            listed=(),
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
