import pytest

from noisy_student_tf.records import corrections
from run_scripts import corrections as script
from tests.review import small_run
from tests.run_scripts import scripts


@pytest.fixture
def workdir(tmp_path):
    splits = {
        "unlabeled": small_run.Pictures(["1.png", "2.png"]),
        "train": small_run.Pictures(["cat/7.png"], [0]),
    }
    return small_run.write(str(tmp_path / "run"), splits)


def run(workdir, *arguments):
    scripts.run(script, f"--workdir={workdir.root}", *arguments)


def test_a_table_goes_in_and_out(workdir, tmp_path, capsys):
    source = tmp_path / "answers.csv"
    source.write_text("key,class\n1.png,cat\n2.png,nothing\n5.png,cat\n")
    target = tmp_path / "out.csv"
    options = (f"--import_from={source}", "--none_name=nothing", "--who=ann")

    run(workdir, *options, f"--export_to={target}")
    shown = capsys.readouterr().out
    assert "2 decisions appended" in shown
    assert "not of this run: 1 image: 5.png" in shown
    assert len(target.read_text().splitlines()) == 3

    run(workdir, *options)
    assert "0 decisions appended" in capsys.readouterr().out
    said = corrections.read(workdir.corrections).corrections
    assert [(each.class_name, each.who) for each in said] == [
        ("cat", "ann"),
        (None, "ann"),
    ]


def test_several_files_are_merged_and_none_is_appended_to(
    workdir, tmp_path, capsys
):
    source = tmp_path / "answers.csv"
    paths = []
    for who, name in (("ann", "cat"), ("bob", "dog")):
        source.write_text(f"key,class\n1.png,{name}\n")
        paths.append(f"{tmp_path}/{who}.jsonl")
        run(
            workdir,
            f"--import_from={source}",
            f"--who={who}",
            f"--corrections={paths[-1]}",
        )
    capsys.readouterr()
    both = f"--corrections={','.join(paths)}"
    run(workdir, both)
    assert "1.png: bob: dog, ann: cat" in capsys.readouterr().out
    with pytest.raises(ValueError, match="name it alone"):
        run(workdir, both, f"--import_from={source}")


def test_nobody_decided_anything(workdir):
    with pytest.raises(FileNotFoundError, match="nobody decided"):
        run(workdir)
