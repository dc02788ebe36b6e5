import pytest

from data_prep import build_labeled
from noisy_student_tf import configs, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import architectures
from noisy_student_tf.planning import accelerators, counting, dry_run
from tests.data_prep import small_pictures


@pytest.mark.parametrize(
    "model, timed",
    [
        (
            {"width": 0.25, "depth": 0.1, "resolution": 16},
            ("efficientnet-b0", 0.25, 16),
        ),
        # 480 M parameters are not built for an estimate.
        (
            {"name": "efficientnet-l2", "resolution": 475},
            ("efficientnet-b0", 1.0, 224),
        ),
    ],
)
def test_the_runs_own_network_is_timed_unless_it_is_large(
    monkeypatch, model, timed
):
    built = []

    def build(spec, **options):
        built.append((spec.name, spec.width, spec.resolution))
        return real(spec, **options)

    real = architectures.build
    monkeypatch.setattr(architectures, "build", build)
    rate = dry_run.measure_rate(configs.ModelConfig(**model))
    assert built == [timed]
    assert rate > 0


def test_images_are_shown_by_class_with_what_was_seen_of_them(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=10)
    small_pictures.write(f"{tmp_path}/birds/cat/a.DNG", b"x")
    for index in range(2):
        small_pictures.write(f"{tmp_path}/birds/dog/{index}.png", b"x")
    for seed in (100, 101, 102):
        path = f"{tmp_path}/heap/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    config = config_tree.override(
        presets.preset("tiny"),
        {
            "data.labeled": f"folder:{tmp_path}/birds",
            "data.unlabeled": f"files:{tmp_path}/heap",
            "data.num_classes": 0,
            "data.labeled_per_class": 0,
            "data.split": "stratified",
            "data.num_shards": 1,
        },
    )
    workdir = workdirs.Workdir(f"{tmp_path}/run")
    counts = counting.count_images(config, workdir)
    text = "\n".join(dry_run.describe_images(counts, reads_all=False))
    assert "class  train  validation  test" in text
    assert "dog" in text
    assert "labeled: 1 file ignored: 1 .DNG (" in text
    assert "were read for the estimates; --dry_run=full reads" in text
    assert "note: There are 3 validation images, fewer than" in text
    with pytest.raises(ValueError, match="2 of 32 images cannot be used"):
        counting.count_images(config, workdir, reads_all=True)
    accepting = config_tree.override(config, {"data.max_corrupt_fraction": 0.1})
    counts = counting.count_images(accepting, workdir, reads_all=True)
    text = "\n".join(dry_run.describe_images(counts, reads_all=True))
    assert "pictures: all 35 were read and checked" in text
    assert "2 of them cannot be used (dog/" in text


def test_pictures_that_occur_twice_are_named_as_by_the_builder(
    tmp_path, caplog
):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=10)
    small_pictures.write_class_folders(
        f"{tmp_path}/more", num_per_class=2, first_seed=500
    )
    for name in ("cat", "dog"):
        path = f"{tmp_path}/birds/{name}/same.png"
        small_pictures.write(path, small_pictures.png(999))
    # One is labeled, one is held out, one is neither.
    for seed in (0, 500, 800):
        path = f"{tmp_path}/heap/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    config = config_tree.override(
        presets.preset("tiny"),
        {
            "data.labeled": f"folder:{tmp_path}/birds",
            "data.evaluation": f"folder:{tmp_path}/more",
            "data.unlabeled": f"files:{tmp_path}/heap",
            "data.num_classes": 0,
            "data.labeled_per_class": 0,
            "data.validation_fraction": 0.0,
        },
    )
    workdir = workdirs.Workdir(f"{tmp_path}/run")
    assert counting.count_images(config, workdir).unlabeled == 3
    counts = counting.count_images(config, workdir, reads_all=True)
    text = "\n".join(dry_run.describe_images(counts, reads_all=True))
    assert "unlabeled: 1 images\nleft out of them: 2, identical to" in text
    assert "cat/same.png (cat) = dog/same.png (dog)" in caplog.text
    path = f"{tmp_path}/more/owl/copy.png"
    small_pictures.write(path, small_pictures.png(3))
    message = r"1 training images .*: cat/003.png = owl/copy.png\. Remove"
    with pytest.raises(ValueError, match=message):
        counting.count_images(config, workdir, reads_all=True)
    with pytest.raises(ValueError, match=message):
        build_labeled.build(data=config.data, directory=workdir.labeled)


def test_an_accelerator_without_the_memory_is_refused(tmp_path):
    config = config_tree.override(
        presets.preset("tiny"),
        {"model.name": "efficientnet-l2", "model.resolution": 800},
    )
    config = config_tree.override(
        config, {"model.width": 0.0, "model.depth": 0.0}
    )
    with pytest.raises(ValueError, match=r"--accelerator=v2-8: .*more devices"):
        dry_run.describe(
            config,
            workdirs.Workdir(f"{tmp_path}/run"),
            accelerator=accelerators.parse("v2-8"),
        )
