import dataclasses

import pytest

from noisy_student_tf.configs import presets
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
