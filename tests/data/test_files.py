"""A file that is written is the new one, whole, or stays the old one."""

import contextlib
from pathlib import Path

from course_lib.data.files import write_whole


def in_(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_is_new_only_when_all_of_it_is_written(tmp_path):
    path = tmp_path / "notes.txt"
    for text in ("first", "second"):
        before = in_(tmp_path)
        with write_whole(path) as aside:
            assert aside.parent == tmp_path  # on the same disk: there a rename is one step
            aside.write_text(text)
            assert in_(tmp_path) == before | {aside.name: text}
        assert in_(tmp_path) == {"notes.txt": text}


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), write_whole(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert in_(tmp_path) == {"notes.txt": "old"}
