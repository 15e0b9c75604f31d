"""Which files are schemas, which are not, and what is said of those that cannot be."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from flowd_codegen.diagnostics.report import SchemaErrors
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read

_JOB = b"[job.Email]\n"


def _refusal(folder: Path) -> str:
    """What is said of a folder, its own path cut out."""
    with pytest.raises(SchemaErrors) as caught:
        parse(read(folder))
    return str(caught.value).replace(folder.as_posix(), "schemas")


def test_all_schemas_below_a_folder_are_read_in_order(tmp_path: Path) -> None:
    """Files come sorted by their path with `/`, whatever the file system's order."""
    for name in ("b.toml", "a/z.toml", "a.toml", "a/b/c.toml", "B.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_JOB)
    paths = [source.path for source in read(tmp_path).files]
    assert paths == ["B.toml", "a.toml", "a/b/c.toml", "a/z.toml", "b.toml"]


def test_other_files_are_ignored(tmp_path: Path) -> None:
    """Hidden files and folders, and files that do not end in .toml, are not read."""
    for name in ("email.toml", ".hidden.toml", ".venv/x.toml", "notes.txt", "x.toml~"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_JOB)
    assert [source.path for source in read(tmp_path).files] == ["email.toml"]


@pytest.mark.parametrize("name", ["B.TOML", "shop/Cart.Toml"])
def test_suffix_in_capitals_is_not_passed_over(tmp_path: Path, name: str) -> None:
    """A schema that is not read would be a job that is not there."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_JOB)
    (tmp_path / "a.toml").write_bytes(_JOB)
    for place in (tmp_path, path):
        said = _refusal(place)
        assert "error[E410]: the name of a schema ends in .toml" in said
        assert f"= rename it to {path.stem}.toml" in said


@pytest.mark.parametrize(
    ("name", "better"),
    [("a.tml", "a.toml"), ("a.toml.txt", "a.toml"), ("a.yaml", "a.toml")],
)
def test_folder_without_schemas_names_what_was_meant(
    tmp_path: Path, name: str, better: str
) -> None:
    """A file of another suffix is named, and how it has to be called."""
    (tmp_path / name).write_bytes(_JOB)
    assert f"= {name} is no schema: rename it to {better}" in _refusal(tmp_path)
    (tmp_path / name).rename(tmp_path / better)
    assert parse(read(tmp_path)).modules


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'[job.A.fields]\ra = "str"\r', "1:15"),
        (b'[job.A.fields]\r\na = "str"\rb = "str"\r\n', "2:10"),
        (b'[job.A.fields]\na = "st\rr"\n', "2:8"),
        (b'[job.A.fields]\n# a\r b\na = "str"\n', "2:4"),
    ],
)
def test_lone_carriage_return_is_called_by_its_name(
    tmp_path: Path, raw: bytes, place: str
) -> None:
    """It is shown in its place, with what to do about it."""
    (tmp_path / "a.toml").write_bytes(raw)
    said = _refusal(tmp_path)
    assert f"a.toml:{place}: error[E101]: not TOML: a carriage return without" in said
    assert "save the file with line ends of LF" in said
    assert said.count("error[") == 1


def test_single_file_is_a_schema_folder(tmp_path: Path) -> None:
    """A file given by name becomes a module of that name."""
    path = tmp_path / "email.toml"
    path.write_bytes(_JOB)
    (module,) = parse(read(path)).modules
    assert (module.path, module.name) == ("email.toml", ("email",))


def test_a_folder_becomes_a_package(tmp_path: Path) -> None:
    """The module's name is the schema's way through the folders."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/cart.toml").write_bytes(_JOB)
    (module,) = parse(read(tmp_path)).modules
    assert (module.path, module.name) == ("shop/cart.toml", ("shop", "cart"))


def test_a_byte_order_mark_and_crlf_change_no_place(tmp_path: Path) -> None:
    """A file from Windows is read like any other, and its lines count the same."""
    text = '\ufeff[job.Email.fields]\r\nto = "str"\r\ncc = "sting"\r\n'
    (tmp_path / "email.toml").write_bytes(text.encode())
    assert _refusal(tmp_path).splitlines() == [
        "schemas/email.toml:3:6: error[E201]: unknown type `sting`",
        "  |",
        '3 | cc = "sting"',
        "  |      ^^^^^^^ flowd spells this `str`",
    ]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A mistyped path is said to be missing, not to be empty; what is alike is named."""
    missing = "schemas:1:1: error[E415]: no such file or folder\n"
    assert _refusal(tmp_path / "shemas") == (
        f"{missing}  = `flowd-gen init` writes a first schema"
    )
    (tmp_path / "schemas").mkdir()
    with pytest.raises(SchemaErrors, match=f"did you mean `{tmp_path}/schemas`"):
        parse(read(tmp_path / "shemas"))


def test_a_folder_without_schemas_is_refused(tmp_path: Path) -> None:
    """Nothing to read is a fault, so that a wrong path does not prune every module."""
    (tmp_path / "empty").mkdir()
    assert _refusal(tmp_path) == (
        "schemas:1:1: error[E415]: no schema here\n"
        "  = a schema is a file whose name ends in .toml"
    )


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Neither a file nor a folder elsewhere gets in through a link."""
    folder, elsewhere = tmp_path / "schemas", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "secret.toml").write_bytes(b"password = 'hidden'\n")
    (folder / "more").symlink_to(elsewhere)
    (folder / "one.toml").symlink_to(elsewhere / "secret.toml")
    (folder / "up.toml").symlink_to(Path("..") / "elsewhere" / "secret.toml")
    text = _refusal(folder)
    assert text.count("error[E412]: a link that leaves the schema folder") == 3
    assert "hidden" not in text


def test_a_link_within_the_folder_adds_nothing(tmp_path: Path) -> None:
    """What a link shows is read in its own place, once, and a loop ends."""
    (tmp_path / "email.toml").write_bytes(_JOB)
    (tmp_path / "again.toml").symlink_to("email.toml")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [source.path for source in read(tmp_path).files] == ["email.toml"]


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    """A schema that is not there any more is missed."""
    (tmp_path / "email.toml").symlink_to("gone.toml")
    assert _refusal(tmp_path) == (
        "schemas/email.toml:1:1: error[E412]: a link that leads nowhere\n"
        "  = remove it"
    )


def test_a_named_file_may_be_a_link(tmp_path: Path) -> None:
    """Who names a link means what it shows."""
    (tmp_path / "real.toml").write_bytes(_JOB)
    (tmp_path / "email.toml").symlink_to("real.toml")
    assert [source.path for source in read(tmp_path / "email.toml").files] == [
        "email.toml"
    ]


def test_text_that_is_not_utf_8_is_shown_where_it_ends(tmp_path: Path) -> None:
    """The first byte that is not UTF-8 gets the caret."""
    (tmp_path / "email.toml").write_bytes(
        "[job.Email]\ndoc = 'größe'\n".encode("latin-1")
    )
    assert _refusal(tmp_path).splitlines() == [
        "schemas/email.toml:2:10: error[E413]: not UTF-8",
        "  |",
        "2 | doc = 'grö",
        "  |          ^ save the file as UTF-8",
    ]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """What is not a regular file is refused, not opened."""
    os.mkfifo(tmp_path / "email.toml")
    assert "error[E413]: not a regular file" in _refusal(tmp_path)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """A schema of 4 MiB is read; one byte more is not."""
    path = tmp_path / "email.toml"
    path.write_bytes(_JOB.ljust(4 * 1024 * 1024, b"\n"))
    assert parse(read(tmp_path)).modules[0].jobs[0].name == "Email"
    path.write_bytes(_JOB.ljust(4 * 1024 * 1024 + 1, b"\n"))
    assert "error[E414]: a schema file has at most 4 MiB" in _refusal(tmp_path)


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    """Two modules that are one on some file systems are a fault on every one."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/Email.toml").write_bytes(b"[job.A]\n")
    (tmp_path / "a/email.toml").write_bytes(b"[job.B]\n")
    if len(list((tmp_path / "a").iterdir())) == 1:
        pytest.skip("this file system takes capitals for small letters itself")
    assert _refusal(tmp_path).splitlines() == [
        (
            "schemas/a/email.toml:1:1: error[E411]: its module would be in the way "
            "of the one of schemas/a/Email.toml"
        ),
        "  = rename one: some file systems treat their names as equal",
    ]


def test_a_broken_file_does_not_make_others_broken(tmp_path: Path) -> None:
    """A type that may be in an unreadable file is not called unknown."""
    (tmp_path / "a.toml").write_bytes(b"[enum.Channel\n")
    (tmp_path / "b.toml").write_bytes(
        b'[job.B.fields]\nc = "Channel"\nd = "string"\n'
        b'e = { type = "str", mapper = "tags" }\n'
    )
    with pytest.raises(SchemaErrors) as caught:
        parse(read(tmp_path))
    codes = [fault.code for fault in caught.value.faults]
    assert codes == ["E101", "E201"]


def test_a_folder_that_may_not_be_read_is_the_systems_error(tmp_path: Path) -> None:
    """What the system refuses is its OSError, not a fault of the schema."""
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    """A file that a shell of Windows wrote is called UTF-16, and what to do about it."""
    text = "[job.A.fields]\na = { type = 'str', doc = 'größe' }\n"
    bom = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
    (tmp_path / "a.toml").write_bytes(bom + text.encode(encoding))
    said = _refusal(tmp_path)
    assert ("UTF-16, not UTF-8" in said) == encoding.startswith("utf-16")
    assert "save the file as UTF-8" in said
    assert said.count("error[E413]") == 1


def test_control_character_is_named_with_its_escape(tmp_path: Path) -> None:
    """With the escape in its place the schema is read."""
    schema = '[job.A.fields]\na = { type = "str", doc = "s%str" }\n'
    (tmp_path / "a.toml").write_text(schema % "\x01")
    said = _refusal(tmp_path)
    assert "a.toml:2:29: error[E101]: not TOML: `\\x01` is not allowed" in said
    assert "write `\\u0001` in double quotes" in said
    (tmp_path / "a.toml").write_text(schema % "\\u0001")
    assert parse(read(tmp_path)).modules
