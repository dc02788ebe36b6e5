"""Memory of one device: weights, optimizer and activations."""

import dataclasses

from noisy_student_tf import configs
from noisy_student_tf.model import cost
from noisy_student_tf.planning import accelerators, compute, storage

_FLOAT32_BYTES = 4
_BFLOAT16_BYTES = 2
_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device while a student trains.

    Attributes:
        images: Of one step, labeled and unlabeled.
        state: Weights, averages and the optimizer's slots, float32.
        gradients: Of the weights, float32.
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
    images = (
        training.labeled_batch_size + training.unlabeled_batch_size
    ) / num_devices
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
        gradients=_FLOAT32_BYTES * num_parameters,
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
        f"({need.images:,.1f} images a step, {config.runtime.precision})",
        f"  weights, averages, optimizer: {need.state / _GIB:,.2f} GiB; "
        f"gradients: {need.gradients / _GIB:,.2f} GiB",
    ]
    for name, activations in (
        ("activations", need.activations),
        ("activations, recomputed", need.recomputed_activations),
    ):
        total = fixed + activations
        fits = total <= accelerator.family.memory_bytes
        lines.append(
            f"  {name}: {activations / _GIB:,.2f} GiB, in all "
            f"{total / _GIB:,.2f} GiB: " + ("fits" if fits else "does not fit")
        )
    return "\n".join(lines)
