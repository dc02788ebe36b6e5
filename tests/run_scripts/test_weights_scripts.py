"""The scripts around published weights, from flags to what they print."""

import pytest

from noisy_student_tf.model import saved
from run_scripts import describe_model, export_weights, import_weights
from tests.run_scripts import scripts
from tests.weights import golden


def test_import_and_export(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    directory = tmp_path / "model"
    scripts.run(
        import_weights,
        f"--source={golden.TIMM}",
        f"--output={directory}",
        f"--class_names_file={tmp_path / 'names.txt'}",
        "--num_classes=2",
        "--resolution=48",
        "--std_rgb=50,60,70",
        "--head_initializer=zeros",
    )
    printed = capsys.readouterr().out
    assert "a fresh classifier; 7 classes in the file" in printed
    assert "50, 60, 70" in printed
    spec = saved.load_spec(str(directory))
    assert spec.class_names == ("cat", "dog")
    assert spec.resolution == 48
    path = tmp_path / "model.safetensors"
    scripts.run(export_weights, f"--source={directory}", f"--output={path}")
    assert "read back equal" in capsys.readouterr().out
    assert path.exists()


@pytest.mark.parametrize(
    "script, flag, message",
    [
        (import_weights, "--output=x", "--source is missing"),
        (export_weights, "--source=x", "--output is missing"),
    ],
)
def test_missing_flag_is_named(script, flag, message):
    with pytest.raises(ValueError, match=message):
        scripts.run(script, flag)


@pytest.mark.parametrize("value", ["1,2", "a,b,c", "1,2,0"])
def test_std_takes_three_positive_numbers(tmp_path, value):
    with pytest.raises(ValueError, match="three numbers"):
        scripts.run(
            import_weights,
            f"--source={golden.TIMM}",
            f"--output={tmp_path / 'x'}",
            f"--std_rgb={value}",
        )


def test_description_of_the_largest_model(capsys):
    scripts.run(describe_model, "--model=efficientnet-l2", "--resolution=475")
    lines = capsys.readouterr().out.splitlines()
    stages = [line.split() for line in lines if line.startswith("stage")]
    # Paper's L2: 88 blocks, 480 M parameters.
    assert sum(int(fields[2]) for fields in stages) == 88
    assert "480,309,308 trainable" in "\n".join(lines)
    assert "with recomputation of blocks" in lines[-1]
    widths = {len(line) for line in lines[1:12]}
    assert len(widths) == 1


def test_bfloat16_halves_what_is_kept(capsys):
    kept = []
    for precision in ("float32", "mixed_bfloat16"):
        scripts.run(describe_model, f"--precision={precision}")
        last = capsys.readouterr().out.splitlines()[-1]
        kept.append(float(last.partition(": ")[2].partition(" MB")[0]))
    assert kept[0] == pytest.approx(2 * kept[1], abs=0.11)
