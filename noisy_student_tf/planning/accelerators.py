"""Accelerators by the names under which they are rented, e.g. `v3-2048`."""

import dataclasses
import difflib
import re

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of accelerator; a device holds one replica.

    Attributes:
        peak_flops: Vendor's peak of one device in FLOP/s: bfloat16, or
            float16 where there is no bfloat16 (V100, T4). A multiply-add is
            two.
        memory_bytes: Of one device.
        devices_per_host: That one machine feeds.
        counted_per_device: What the name's number counts, per device: TPU v4
            and v5p are named by cores, of which one device has two.
    """

    peak_flops: float
    memory_bytes: int
    devices_per_host: int
    counted_per_device: int = 1


# Vendors' data sheets (dense arithmetic).
FAMILIES = {
    "v2": Family(22.5e12, 8 * _GIB, 8),
    "v3": Family(61.5e12, 16 * _GIB, 8),
    "v4": Family(275e12, 32 * _GIB, 4, counted_per_device=2),
    "v5e": Family(197e12, 16 * _GIB, 4),
    "v5p": Family(459e12, 95 * _GIB, 4, counted_per_device=2),
    "v6e": Family(918e12, 32 * _GIB, 4),
    "t4": Family(65e12, 16 * _GIB, 4),
    "v100": Family(125e12, 16 * _GIB, 8),
    "a100": Family(312e12, 80 * _GIB, 8),
    "h100": Family(989e12, 80 * _GIB, 8),
    "h200": Family(989e12, 141 * _GIB, 8),
}


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A number of devices of one family.

    Attributes:
        name: As it was asked for.
        family: What the devices are.
        num_devices: Replicas of the training step.
    """

    name: str
    family: Family
    num_devices: int

    @property
    def num_hosts(self) -> int:
        """Machines that feed the devices."""
        return -(-self.num_devices // self.family.devices_per_host)

    def seconds(self, multiply_adds: float, *, utilization: float) -> float:
        """Return how long all devices together take.

        Args:
            multiply_adds: Of everything, all passes counted.
            utilization: Share of the peak that is reached, in (0, 1].
        """
        peak = self.family.peak_flops * self.num_devices
        return 2 * multiply_adds / (peak * utilization)


def parse(name: str) -> Accelerator:
    """Return the accelerator of a name such as `v3-2048` or `h100-8`.

    Raises:
        ValueError: The family is unknown or the number is missing.
    """
    match = re.fullmatch(r"([a-z0-9]+)-(\d+)", name)
    if match is None or match[1] not in FAMILIES:
        guess = difflib.get_close_matches(name.split("-")[0], FAMILIES, 1)
        hint = f" Did you mean {guess[0]}-8?" if guess else ""
        raise ValueError(
            f"--accelerator={name}: accepted is FAMILY-NUMBER with one of "
            f"{', '.join(FAMILIES)}, such as v3-2048 or h100-8.{hint}"
        )
    family = FAMILIES[match[1]]
    num_devices = int(match[2]) // family.counted_per_device
    if num_devices < 1:
        raise ValueError(
            f"--accelerator={name}: accepted is a number of at least "
            f"{family.counted_per_device}."
        )
    return Accelerator(name, family, num_devices)
