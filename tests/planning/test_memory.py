import dataclasses
import re

import pytest

from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.planning import accelerators, memory

B0 = presets.preset("imagenet_b0")
B0_PARAMETERS = 5_288_548


def test_b0_by_hand():
    need = memory.per_device(B0, num_devices=64)
    # 2,048 labeled and as many unlabeled images over 64 devices.
    assert need.images == 64
    # Weights, averages and RMSProp's two slots.
    assert need.state == 16 * B0_PARAMETERS
    assert need.gradients == 4 * B0_PARAMETERS
    assert need.recomputed_activations < need.activations / 2


def test_bfloat16_halves_activations_and_nothing_else():
    runtime = dataclasses.replace(B0.runtime, precision="mixed_bfloat16")
    half = memory.per_device(
        dataclasses.replace(B0, runtime=runtime), num_devices=64
    )
    full = memory.per_device(B0, num_devices=64)
    assert half.activations == pytest.approx(full.activations / 2)
    assert half.state == full.state


def test_what_does_not_fit_is_said():
    l2 = presets.preset("imagenet_l2_iteration1")
    small = memory.describe(l2, accelerators.parse("v2-8"))
    assert small.count("does not fit") == 2
    large = memory.describe(B0, accelerators.parse("h100-1024"))
    assert "does not fit" not in large


def test_parts_of_a_batch_take_turns_and_keep_a_sum():
    parts = config_tree.override(B0, {"training.accumulation_steps": 4})
    need, whole = (memory.per_device(c, num_devices=64) for c in (parts, B0))
    assert need.images == 16
    assert need.activations == pytest.approx(whole.activations / 4)
    assert need.gradients == 2 * whole.gradients


@pytest.mark.parametrize(
    "preset, accelerator",
    [
        ("imagenet_b7", "h100-8"),
        ("imagenet_b7", "a100-16"),
        ("imagenet_b0", "v3-8"),
    ],
)
def test_what_to_set_is_said_and_fits(preset, accelerator):
    config = presets.preset(preset)
    found = accelerators.parse(accelerator)
    with pytest.raises(ValueError, match=f"--accelerator={accelerator}") as e:
        memory.check(config, found)
    values = dict(re.findall(r"--((?:\w+\.)\w+)=(\w+)", str(e.value)))
    assert values
    mended = config_tree.override(
        config, {name: parse(value) for name, value in values.items()}
    )
    memory.check(mended, found)
    # As it is already, less would not do.
    assert "as it is set, fits" in memory.describe(mended, found)


def parse(value):
    """Return what a flag's text means."""
    return {"True": True}.get(value, int(value) if value.isdigit() else value)


def test_too_few_devices_are_told_so():
    l2 = presets.preset("imagenet_l2_iteration1")
    with pytest.raises(ValueError, match="take more devices"):
        memory.check(l2, accelerators.parse("v2-8"))
