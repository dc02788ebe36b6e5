import pytest

from data_prep import sources
from noisy_student_tf import files
from noisy_student_tf.records import schema
from tests.data_prep import small_pictures


def open_list(directory, content: str, options: str = ""):
    files.make_directories(str(directory))
    files.write_text(f"{directory}/list.csv", content)
    return sources.open_source(f"csv:{directory}/list.csv{options}")


def write(directory, *paths):
    for path in paths:
        small_pictures.write(f"{directory}/{path}", path.encode())


def labels(source) -> dict[str, int | None]:
    return {i.key: i.label for i in sources.list_checked(source).images}


@pytest.mark.parametrize("heading", ["", "path,label\n", "\ufeffPath, Label\n"])
def test_paths_are_relative_to_the_table(tmp_path, heading):
    write(tmp_path, "deep/a.png", "b.png")
    text = heading + 'deep/a.png,owl\n\n"b.png", cat\n'
    source = open_list(tmp_path, text)
    assert source.class_names == ("cat", "owl")
    assert labels(source) == {"deep/a.png": 1, "b.png": 0}
    listed = tuple(sources.list_checked(source).images)
    assert listed[0].image_id == schema.make_id("list.csv", "deep/a.png")
    with source.reader(listed) as read:
        assert [read(item) for item in listed] == [b"deep/a.png", b"b.png"]


def test_paths_alone_have_no_classes(tmp_path):
    write(tmp_path, "a.png")
    source = open_list(tmp_path, "path\na.png\n")
    assert source.class_names == ()
    assert labels(source) == {"a.png": None}


def test_columns_are_chosen(tmp_path):
    write(tmp_path, "a.png", "b.png")
    text = "id;image;kind;color\n1;a.png;cat;red\n2;b.png;dog;red\n"
    with pytest.raises(ValueError, match="which column holds the labels"):
        open_list(tmp_path, text)
    source = open_list(tmp_path, text, "#path=image&label=kind")
    assert labels(source) == {"a.png": 0, "b.png": 1}
    assert open_list(tmp_path, text, "#label=4").class_names == ("red",)
    assert open_list(tmp_path, text, "#label=").class_names == ()


def test_soft_labels_become_the_most_probable_class(tmp_path, caplog):
    write(tmp_path, "a.png", "b.png", "c.png")
    text = "image,dog,cat\na.png,0.9,0.1\nb.png,0,1\nc.png,0.3,0.7\n"
    source = open_list(tmp_path, text)
    assert source.class_names == ("cat", "dog")
    assert labels(source) == {"a.png": 1, "b.png": 0, "c.png": 0}
    assert "2 of 3 lines have soft labels" in caplog.text
    assert "of a probability of 0.80 on average" in caplog.text


def test_repeated_lines_count_once_and_contradictions_are_errors(tmp_path):
    write(tmp_path, "a.png", "b.png")
    source = open_list(tmp_path, "a.png,cat\nb.png,dog\na.png,cat\n")
    assert labels(source) == {"a.png": 0, "b.png": 1}
    assert source.list_items().ignored == {"line that repeats another": 1}
    with pytest.raises(
        ValueError, match=r"lines 1 and 3 give 'a.png' two labels, 'cat' and"
    ):
        open_list(tmp_path, "a.png,cat\nb.png,dog\na.png,dog\n")


def test_missing_files_are_named_with_their_lines(tmp_path):
    write(tmp_path, "a.png")
    source = open_list(tmp_path, "path,label\na.png,cat\nb.png,dog\n")
    assert source.list_items().missing == ("line 3: b.png",)
    with pytest.raises(
        FileNotFoundError, match=r"none of its 2 files is there.*line 1: c.png"
    ):
        sources.list_checked(open_list(tmp_path, "c.png,cat\nd.png,dog\n"))


def test_remote_files_are_looked_for(tmp_path):
    root = "ram://test_csv_lists"
    write(root, "cat/a.png", "b.png")
    source = open_list(root, "cat/a.png,x\nb.png,y\ndog/c.png,y\n")
    assert source.list_items().missing == ("line 3: dog/c.png",)


def test_paths_of_windows_are_understood(tmp_path):
    write(tmp_path, "cat/a.png")
    assert labels(open_list(tmp_path, "cat\\a.png,x\n")) == {"cat/a.png": 0}


def test_missing_table_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        sources.open_source(f"csv:{tmp_path}/list.csv")
