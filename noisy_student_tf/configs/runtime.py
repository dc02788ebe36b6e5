"""Settings of devices and arithmetic."""

import dataclasses
from typing import Literal

from noisy_student_tf.configs import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and arithmetic."""

    strategy: Literal[
        "auto", "one_device", "mirrored", "multi_worker", "tpu"
    ] = options.option(
        "auto",
        "auto: mirrored over several GPUs, else one device; multi_worker "
        "reads TF_CONFIG.",
        affects="rounding",
    )
    num_devices: int = options.option(
        0, "Devices of --runtime.strategy=mirrored. 0: all.", affects="rounding"
    )
    tpu_address: str = options.option(
        "local", "Name or address of the TPU.", affects="rounding"
    )
    precision: Literal["float32", "mixed_bfloat16"] = options.option(
        "float32", "Arithmetic of the layers; weights stay float32."
    )
    deterministic: bool = options.option(
        False, "Deterministic operations, for a whole run or not at all."
    )
    worker_timeout_seconds: float = options.positive(
        300.0,
        "How long the workers of TF_CONFIG are waited for at the start.",
        affects="nothing",
    )
    stall_seconds: float = options.positive(
        300.0,
        "Without a step for so long, the log says what it waits for.",
        affects="nothing",
    )
    cache_megabytes: int = options.option(
        256,
        "Shard sets up to this size are held in memory for training.",
        affects="nothing",
    )
    cache_directory: str = options.option(
        "",
        "Local folder that larger shard sets are copied to before training, "
        "for remote ones. Empty: they are read where they lie.",
        affects="nothing",
    )
    host_sharding: Literal["rows", "files"] = options.option(
        "rows",
        "rows: every host reads its part of each batch from all shards, and "
        "batches do not depend on the number of hosts; files: every host "
        "reads shards of its own.",
    )

    def __post_init__(self) -> None:
        options.check_fields(self, "runtime.")
