"""Memory of one device: weights, optimizer and activations."""

import dataclasses
from collections.abc import Iterator

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.model import cost
from noisy_student_tf.planning import accelerators, compute, storage

_FLOAT32_BYTES = 4
_BFLOAT16_BYTES = 2
_GIB = 2**30
# The rest is the compiler's: copies, buffers of kernels, fragments.
_USABLE_SHARE = 0.9
_MOST_PARTS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device while a student trains.

    Attributes:
        images: Of one part of a step, labeled and unlabeled.
        state: Weights, averages and the optimizer's slots, float32.
        gradients: Of the weights, float32; with several parts, of the sum too.
        activations: Kept for the gradient.
        recomputed_activations: The same, where blocks are recomputed.
    """

    images: float
    state: int
    gradients: int
    activations: float
    recomputed_activations: float


def per_device(config: configs.Config, num_devices: int) -> Memory:
    """Return what a student's step needs on each of some devices."""
    spec = compute.model_spec(config.model, config)
    num_parameters = cost.count_parameters(spec)
    training = config.training
    num_parts = training.accumulation_steps
    images = (training.labeled_batch_size + training.unlabeled_batch_size) / (
        num_devices * num_parts
    )
    number_bytes = (
        _BFLOAT16_BYTES
        if config.runtime.precision == "mixed_bfloat16"
        else _FLOAT32_BYTES
    )
    plain, recomputed = (
        images * number_bytes * cost.kept_numbers(spec, recompute=recompute)
        for recompute in (False, True)
    )
    return Memory(
        images=images,
        state=storage.training_state_bytes(config, num_parameters),
        gradients=_FLOAT32_BYTES * num_parameters * (1 + (num_parts > 1)),
        activations=plain,
        recomputed_activations=recomputed,
    )


def describe(
    config: configs.Config, accelerator: accelerators.Accelerator
) -> str:
    """Return the memory of one device as text, with what it has."""
    need = per_device(config, accelerator.num_devices)
    fixed = need.state + need.gradients
    lines = [
        f"memory of one device, which has "
        f"{accelerator.family.memory_bytes / _GIB:.0f} GiB "
        f"({need.images:,.1f} images at once, {config.runtime.precision})",
        f"  weights, averages, optimizer: {need.state / _GIB:,.2f} GiB; "
        f"gradients: {need.gradients / _GIB:,.2f} GiB",
    ]
    for name, activations in (
        ("activations", need.activations),
        ("activations, recomputed", need.recomputed_activations),
    ):
        total = fixed + activations
        fits = total <= _usable_bytes(accelerator)
        lines.append(
            f"  {name}: {activations / _GIB:,.2f} GiB, in all "
            f"{total / _GIB:,.2f} GiB: " + ("fits" if fits else "does not fit")
        )
    lines.append(f"  {_advice(config, accelerator)}")
    return "\n".join(lines)


def check(
    config: configs.Config, accelerator: accelerators.Accelerator
) -> None:
    """Refuse a student's step that the devices have no memory for.

    Raises:
        ValueError: It does not fit; what to set is said.
    """
    if not _fits(config, accelerator):
        raise ValueError(
            f"--accelerator={accelerator.name}: a student's step would take "
            f"{_needed_bytes(config, accelerator) / _GIB:,.1f} GiB of a "
            f"device's {accelerator.family.memory_bytes / _GIB:.0f}, of which "
            f"{_USABLE_SHARE:.0%} are counted on: "
            f"{_advice(config, accelerator)}."
        )


def _advice(
    config: configs.Config, accelerator: accelerators.Accelerator
) -> str:
    """Return which flags let a step fit, in words."""
    for values in _remedies(config, accelerator.num_devices):
        if _fits(config_tree.override(config, values), accelerator):
            flags = [f"--{name}={value}" for name, value in values.items()]
            return " ".join(["set", *flags]) if flags else "as it is set, fits"
    return "take more devices, or smaller batches"


def _remedies(
    config: configs.Config, num_devices: int
) -> Iterator[dict[str, object]]:
    """Yield settings that need less and less, what costs least first."""
    values: dict[str, object] = {}
    yield values
    if config.runtime.precision != "mixed_bfloat16":
        values = {"runtime.precision": "mixed_bfloat16"}
        yield values
    if not config.model.recompute:
        values = {**values, "model.recompute": True}
        yield values
    training = config.training
    sizes = training.labeled_batch_size, training.unlabeled_batch_size
    for num_parts in range(training.accumulation_steps + 1, _MOST_PARTS + 1):
        if not any(size % (num_devices * num_parts) for size in sizes):
            yield {**values, "training.accumulation_steps": num_parts}


def _fits(
    config: configs.Config, accelerator: accelerators.Accelerator
) -> bool:
    needed = _needed_bytes(config, accelerator)
    return needed <= _usable_bytes(accelerator)


def _usable_bytes(accelerator: accelerators.Accelerator) -> float:
    return _USABLE_SHARE * accelerator.family.memory_bytes


def _needed_bytes(
    config: configs.Config, accelerator: accelerators.Accelerator
) -> float:
    need = per_device(config, accelerator.num_devices)
    activations = (
        need.recomputed_activations
        if config.model.recompute
        else need.activations
    )
    return need.state + need.gradients + activations
