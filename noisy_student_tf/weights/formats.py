"""Opening a file of weights, whichever of the known formats it has."""

from noisy_student_tf import files
from noisy_student_tf.weights import (
    keras_files,
    pytorch_files,
    tf1_checkpoint,
    torch_files,
    weight_file,
)

_ACCEPTED = (
    "Accepted are a TensorFlow 1 checkpoint (its prefix or directory), .h5 of "
    "Keras 2, .weights.h5 of Keras 3, and .safetensors and .pth of timm and of "
    "efficientnet_pytorch"
)
# In a directory, what is tried in the place of a checkpoint.
_SUFFIXES = (".safetensors", ".h5", ".pth", ".pt", ".bin")


def open_file(
    path: str, *, use_raw_variables: bool = False, scope: str = ""
) -> weight_file.WeightFile:
    """Open a file of weights; its content, not its name, tells the format.

    Args:
        path: A file, the prefix of a checkpoint, or a directory with one.
        use_raw_variables: Of a checkpoint, not its moving averages.
        scope: Of the model in a checkpoint that holds several.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is of no accepted format, or damaged.
    """
    prefix = tf1_checkpoint.find_prefix(path)
    if prefix:
        return tf1_checkpoint.open_checkpoint(
            prefix, use_raw_variables=use_raw_variables, scope=scope
        )
    if files.is_directory(path):
        path = _file_in(path)
    if not files.exists(path):
        raise FileNotFoundError(f"--source={path}: not found. {_ACCEPTED}.")
    if use_raw_variables or scope:
        flag = f"--scope={scope}" if scope else "--use_raw_variables"
        raise ValueError(
            f"--source={path}: {flag} is for TensorFlow 1 checkpoints; files "
            "of other formats hold one set of weights. Leave it out."
        )
    with files.open_file(path) as file:
        head = file.read(16)
    if head.startswith(keras_files.MAGIC):
        return keras_files.open_file(path)
    if pytorch_files.is_safetensors(head):
        return pytorch_files.open_safetensors(path)
    if head.startswith(torch_files.MAGICS):
        return keras_files.open_archive(path) or pytorch_files.open_pth(path)
    raise ValueError(
        f"--source={path}: begins with {head!r}, which is of no format known "
        f"here, or the file is cut off. {_ACCEPTED}; archives must be unpacked."
    )


def _file_in(directory: str) -> str:
    """Return the only file of weights in a directory."""
    for suffix in _SUFFIXES:
        found = files.glob(files.join(directory, f"*{suffix}"))
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"--source={directory}: {len(found)} files of weights, such "
                f"as {found[0]} and {found[1]}. Name one of them."
            )
    raise ValueError(
        f"--source={directory}: a directory without weights. {_ACCEPTED}."
    )
