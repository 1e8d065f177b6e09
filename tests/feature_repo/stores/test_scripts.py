"""Lua scripts in files of their own."""

from pathlib import Path

from feature_repo.stores.scripts import read_script


def test_a_script_is_read_without_its_comment_lines_and_keeps_its_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "add.lua").write_text("-- What it does.\nlocal a = 1\n  -- why\nreturn a -- here\n")
    assert read_script(str(tmp_path / "module.py"), "add.lua") == "\nlocal a = 1\n\nreturn a -- here\n"
