import pytest

from data_prep.sources import tables

ROWS = (("cat/0.png", "cat"), ("dog/0.png", "dog"), ("owl/0.png", "höwl"))


def read(content: str | bytes, *, there=(), path_column=""):
    if isinstance(content, str):
        content = content.encode()
    return tables.read(
        "csv:list.csv",
        content,
        path_column=path_column,
        exists=lambda path: path in there,
    )


def text(separator=",", heading=()) -> str:
    rows = [heading, *ROWS] if heading else ROWS
    return "".join(f"{separator.join(row)}\n" for row in rows)


def fields(table: tables.Table) -> list[tuple[str, ...]]:
    return [line.fields for line in table.lines]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", " , ", "   "])
@pytest.mark.parametrize("heading", [(), ("Bild", "Art"), ("path", "label")])
def test_separator_and_heading_are_found_out(separator, heading):
    table = read(text(separator, heading))
    assert fields(table) == list(ROWS)
    assert table.heading == heading
    assert table.path_column == 0
    assert tables.label_column(table) == 1


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]
)
def test_encodings_are_found_out(encoding):
    assert fields(read(text().encode(encoding))) == list(ROWS)


def test_line_ends_and_quotes_of_spreadsheets():
    content = '"cat/0, 1.png","cat"\r\n"dog/0.png","a ""dog"""\r\n\r\n'
    assert fields(read(content)) == [
        ("cat/0, 1.png", "cat"),
        ("dog/0.png", 'a "dog"'),
    ]


def test_line_break_within_a_label_is_white_space():
    content = 'a.png,"ca t"\nb.png,"ca\nt"\nc.png,"cat\n"\n'
    labels = [row[1] for row in fields(read(content))]
    assert labels == ["ca t", "ca t", "cat"]


def test_columns_may_be_swapped():
    content = "".join(f"{label},{path}\n" for path, label in ROWS)
    table = read(content)
    assert table.path_column == 1
    assert tables.label_column(table) == 0


def test_paths_alone_may_hold_spaces_and_commas():
    assert fields(read("my photo.jpg\nyour photo.jpg\n")) == [
        ("my photo.jpg",),
        ("your photo.jpg",),
    ]
    there = ("a, b.jpg", "c, d.jpg")
    assert fields(read("a, b.jpg\nc, d.jpg\n", there=there)) == [
        ("a, b.jpg",),
        ("c, d.jpg",),
    ]
    table = read("path\na.png\n")
    assert (table.heading, fields(table)) == (("path",), [("a.png",)])
    assert tables.label_column(table) is None


def test_names_without_suffix_are_recognized_by_their_files():
    content = "id,kind\n0001,cat\n0002,dog\n"
    table = read(content, there=("0001", "0002"))
    assert table.heading == ("id", "kind")
    assert fields(table) == [("0001", "cat"), ("0002", "dog")]


def test_columns_are_chosen_by_name_or_number():
    content = "id;image;mask;kind;color\n1;a.png;a_m.png;cat;red\n"
    table = read(content)
    assert table.path_column == 1
    with pytest.raises(ValueError, match="which column holds the labels") as e:
        tables.label_column(table)
    assert "['id', 'image', 'mask', 'kind', 'color']" in str(e.value)
    assert "separator: semicolon" in str(e.value)
    assert "line 2: ['1', 'a.png'" in str(e.value)
    assert table.column("kind") == table.column("4") == 3
    with pytest.raises(ValueError, match=r"no column '9'. The columns are \["):
        table.column("9")
    assert read(content, path_column="mask").path_column == 2


def test_uneven_line_is_named_with_what_was_understood():
    with pytest.raises(
        ValueError, match=r"line 3 is \['b.png'\]; .*2 fields.*comma, UTF-8"
    ):
        read("path,label\na.png,cat\nb.png\n")
    with pytest.raises(ValueError, match=r"line 2 is \['b.png', ''\]"):
        read("a.png,cat\nb.png,\nc.png,cat\n")


def test_empty_tables_are_errors():
    for content in ("", "\n\n", "\ufeff"):
        with pytest.raises(ValueError, match="the table is empty"):
            read(content)
    with pytest.raises(ValueError, match="a heading and nothing below it"):
        read("path,label\n")


def test_soft_labels_are_columns_that_sum_to_1():
    table = read("image,cat,dog\na.png,0.9,0.1\nb.png,0,1\n")
    assert tables.soft_labels(table) == [
        {"cat": 0.9, "dog": 0.1},
        {"cat": 0.0, "dog": 1.0},
    ]
    assert tables.soft_labels(read("image,x,y\na.png,0.9,0.3\n")) is None
    assert tables.soft_labels(read("image,x,y\na.png,red,1\n")) is None
    assert tables.soft_labels(read(text())) is None
