"""All access to files: local, remote (`gs://`) or in memory (`ram://`).

Outputs appear whole: they are written under a temporary name and renamed.
Object stores do not rename atomically, so a directory of outputs counts as
finished when its manifest, a single small object, exists.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO, Any

_TEMPORARY_MARK = ".temporary-"
_REQUESTS_AT_ONCE = 64


def _gfile() -> Any:
    """Return TensorFlow's file access.

    Its import takes seconds, which is spared where it is enough to look for
    local files, to read them and to write a few.
    """
    import tensorflow as tf

    return tf.io.gfile


def _ask(name: str, path: str, *arguments: Any, **options: Any) -> Any:
    """Call TensorFlow's function of a path, as `ask` does."""
    function = getattr(_gfile(), name)
    return ask(path, lambda: function(path, *arguments, **options))


def ask(path: str, request: Callable[[], Any]) -> Any:
    """Return what a request for a path returns.

    Of a remote path it is made again while its errors may pass; see `retries`.
    What a disk refuses it refuses again.
    """
    if not is_remote(path):
        return request()
    # Spared where all is local.
    from noisy_student_tf import retries

    return retries.call(path, request)


def errors() -> tuple[type[Exception], ...]:
    """Return what may be raised where a file cannot be read or written."""
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, tensorflow.errors.OpError) if tensorflow else (OSError,)


def join(*parts: str) -> str:
    """Join parts of a path."""
    return os.path.join(*parts)


def directory_name(path: str) -> str:
    """Return the directory that a path lies in."""
    return os.path.dirname(path)


def is_remote(path: str) -> bool:
    """Tell whether a path has a scheme, such as `gs://` or `ram://`."""
    return "://" in path


def exists(path: str) -> bool:
    """Tell whether a file or directory exists."""
    return _ask("exists", path) if is_remote(path) else os.path.exists(path)


def is_directory(path: str) -> bool:
    """Tell whether a directory exists."""
    return _ask("isdir", path) if is_remote(path) else os.path.isdir(path)


def list_directory(path: str) -> list[str]:
    """Return the sorted names in a directory, half-written files left out."""
    names = (name.rstrip("/") for name in _names(path))
    return sorted(name for name in names if _TEMPORARY_MARK not in name)


def _names(path: str) -> list[str]:
    is_there = not is_remote(path) and os.path.isdir(path)
    return os.listdir(path) if is_there else _ask("listdir", path)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A name in a directory.

    Attributes:
        name: Without the directory.
        path: With it.
        is_known: Whether it costs nothing to ask if it is a directory.
        is_link: Whether it is a symbolic link.
        listed_as_directory: Whether the listing says that it is one.
        listed_as_file: The same of a file, or a link to one.
    """

    name: str
    path: str
    is_known: bool
    is_link: bool = False
    listed_as_directory: bool = False
    listed_as_file: bool = False

    def is_directory(self) -> bool:
        """Tell whether it is a directory, or a link to one."""
        if self.listed_as_directory or (self.is_known and not self.is_link):
            return self.listed_as_directory
        return is_directory(self.path)

    def is_special(self) -> bool:
        """Tell of what is no directory if it is a pipe, socket or device.

        Reading one may never end.
        """
        return (
            not self.listed_as_file
            and not is_remote(self.path)
            and os.path.exists(self.path)
        )


def scan_directory(path: str) -> list[Entry]:
    """Return what is in a directory, sorted by name, without half-written."""
    if is_remote(path):
        found = [
            Entry(
                name=name.rstrip("/"),
                path=join(path, name.rstrip("/")),
                is_known=name.endswith("/"),
                listed_as_directory=name.endswith("/"),
            )
            for name in _ask("listdir", path)
        ]
    else:
        with os.scandir(path) as scanned:
            found = [
                Entry(
                    name=entry.name,
                    path=entry.path,
                    is_known=True,
                    is_link=entry.is_symlink(),
                    listed_as_directory=entry.is_dir(follow_symlinks=False),
                    listed_as_file=entry.is_file(),
                )
                for entry in scanned
            ]
    whole = (entry for entry in found if _TEMPORARY_MARK not in entry.name)
    return sorted(whole, key=lambda entry: entry.name)


def real_path(path: str) -> str:
    """Return what a path leads to when its links are followed."""
    return path.rstrip("/") if is_remote(path) else os.path.realpath(path)


def expand_home(path: str) -> str:
    """Return a path whose `~` became the home directory."""
    return os.path.expanduser(path)


def glob(pattern: str) -> list[str]:
    """Return the sorted files that match a pattern or comma-separated ones.

    What exists under the very name is no pattern, and where nothing matches,
    brackets stand for themselves. Half-written files are left out.
    """
    if exists(pattern):
        return [pattern]
    paths: list[str] = []
    for part in pattern.split(","):
        if exists(part):
            paths.append(part)
        else:
            literal = part.replace("[", "[[]")
            paths += _ask("glob", part) or _ask("glob", literal)
    return sorted(path for path in paths if _TEMPORARY_MARK not in path)


def make_directories(path: str) -> None:
    """Create a directory and its parents; an existing one is no error."""
    _ask("makedirs", path)


def size_bytes(path: str) -> int:
    """Return the size of a file in bytes.

    Raises:
        FileNotFoundError: There is none.
    """
    if not is_remote(path):
        return os.stat(path).st_size
    import tensorflow as tf

    try:
        return _ask("stat", path).length
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist.") from error


def call_for_each(
    function: Callable[[str], Any], paths: Sequence[str]
) -> list[Any]:
    """Return what a function says of each path, in their order.

    Of remote paths many are asked for at once: a request to object storage
    takes tens of milliseconds, and the processor nothing.
    """
    if not any(map(is_remote, paths)):
        return [function(path) for path in paths]
    with concurrent.futures.ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return list(pool.map(function, paths))


def read_bytes(path: str) -> bytes:
    """Read a whole file.

    Raises:
        FileNotFoundError: There is none.
    """
    if not is_remote(path) and os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    import tensorflow as tf

    def read() -> bytes:
        with open_file(path) as file:
            content = file.read()
        check_whole(path, len(content))
        return content

    try:
        return ask(path, read)
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist.") from error


def check_whole(path: str, num_bytes: int) -> None:
    """Check that all bytes of a file were read or written.

    Answers that end too early, and uploads that were refused on the way, are
    not always errors to TensorFlow.

    Raises:
        tf.errors.UnavailableError: Some are missing of a remote file; another
            try may bring them.
    """
    if not is_remote(path):
        return
    import tensorflow as tf

    size = _gfile().stat(path).length
    if num_bytes != size:
        raise tf.errors.UnavailableError(
            None, None, f"{path}: {num_bytes:,} of {size:,} bytes."
        )


def read_text(path: str) -> str:
    """Read a whole file as UTF-8."""
    return read_bytes(path).decode("utf-8")


def read_json(path: str) -> Any:
    """Read a JSON file."""
    return json.loads(read_text(path))


def open_file(path: str, mode: str = "rb") -> IO[Any]:
    """Open a file for reading ("r", "rb") or appending ("a")."""
    return _gfile().GFile(path, mode)


@contextlib.contextmanager
def temporary_name(path: str) -> Iterator[str]:
    """Yield a name beside `path`; it becomes `path` when the block succeeds.

    A block that raises leaves nothing behind. What a killed process leaves is
    removed by `remove_temporaries`.
    """
    temporary = f"{path}{_TEMPORARY_MARK}{uuid.uuid4().hex}"
    try:
        yield temporary
        _rename(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def _rename(source: str, path: str) -> None:
    if not is_remote(path):
        os.replace(source, path)
        return
    import tensorflow as tf

    try:
        _ask("rename", source, path, overwrite=True)
    except tf.errors.NotFoundError:
        # Unless a try whose answer was lost has done it.
        if exists(source) or not exists(path):
            raise


def write_bytes(path: str, content: bytes) -> None:
    """Write a whole file, so that it exists complete or not at all."""

    def write() -> None:
        with _open_to_write(temporary) as file:
            file.write(content)
        check_whole(temporary, len(content))

    with temporary_name(path) as temporary:
        ask(path, write)


def _open_to_write(path: str) -> IO[bytes]:
    return _gfile().GFile(path, "wb") if is_remote(path) else open(path, "wb")


def write_text(path: str, content: str) -> None:
    """Write a whole file as UTF-8, complete or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str, content: Any) -> None:
    """Write a JSON file, complete or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_json_once(path: str, content: Any) -> Any:
    """Write a JSON file if there is none, and return what it holds.

    Of several processes all get the content of the first one, unless two
    write within the same milliseconds.
    """
    if not exists(path):
        write_json(path, content)
    return read_json(path)


def remove(path: str) -> None:
    """Remove a file or a directory with all in it; a missing one is fine."""
    if not exists(path):
        return
    import tensorflow as tf

    with contextlib.suppress(tf.errors.NotFoundError):
        _ask("rmtree" if is_directory(path) else "remove", path)


def remove_temporaries(
    directory: str, *, of: Collection[str] | None = None
) -> None:
    """Remove what killed writers left in a directory.

    Args:
        directory: Where they wrote.
        of: Names of the files that nobody writes any more; None: nobody
            writes there at all.
    """
    if not is_directory(directory):
        return
    for name in _names(directory):
        whole, mark, _ = name.rstrip("/").partition(_TEMPORARY_MARK)
        if mark and (of is None or whole in of):
            remove(join(directory, name.rstrip("/")))


def copy(source: str, destination: str) -> None:
    """Copy a file, complete or not at all."""
    with temporary_name(destination) as temporary:
        _ask("copy", source, temporary, overwrite=True)


def free_bytes(path: str) -> int | None:
    """Return the free space where a path lies or will lie; None if remote."""
    if is_remote(path):
        return None
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free
