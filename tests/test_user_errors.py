import pytest

from noisy_student_tf import user_errors


def raising(error: Exception):
    def main(_):
        raise error

    return user_errors.guarded(main)


@pytest.mark.parametrize(
    "error", [ValueError("no such"), FileNotFoundError("no such")]
)
def test_what_can_be_mended_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as caught:
        raising(error)([])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: no such\n"


def test_an_error_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        raising(KeyError("ours"))([])


def test_arguments_are_handed_on():
    found = []
    user_errors.guarded(found.append)(["script", "a"])
    assert found == [["script", "a"]]
