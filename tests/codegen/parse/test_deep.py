"""Records in records: what holds the next one twice, and chains of any length."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowd.errors import DecodeError, EncodeError
from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.model.declared import Declared
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources, read
from flowd_codegen.parse.table import Table
from flowd_codegen.parse.wire_keys import WireKeys
from flowd_codegen.python.render import render
from tests.codegen.compat.classes import classes


def _write(folder: Path, count: int, *fields: str) -> None:
    """Records R0 to R{count}, each with these fields of the next one, and a job of R0?."""
    tables = [
        f"[record.R{number}.fields]\n"
        + "".join(
            f'{name} = "{kind}"\n'.replace("NEXT", f"R{number + 1}")
            for name, kind in zip("abc", fields, strict=False)
        )
        for number in range(count)
    ]
    last = f'[record.R{count}.fields]\nx = {{ type = "str", secret = true }}\n'
    job = '[job.J.fields]\nr = { type = "R0?" }\n'
    folder.mkdir()
    (folder / "deep.toml").write_text("".join([job, *tables, last]))


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (2_000, ("NEXT",)),
        (200, ("NEXT", "NEXT")),
        (200, ("NEXT?", "list[NEXT]", "dict[str, NEXT]")),
    ],
    ids=["chain", "twice", "inside"],
)
def test_records_in_records_take_linear_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
    fields: tuple[str, ...],
) -> None:
    """No command counts the ways to a record, or goes down them by calling itself."""
    monkeypatch.chdir(tmp_path)
    _write(Path("deep"), count, *fields)
    _write(Path("shorter"), count - 1, *fields)
    for words in (
        "validate deep",
        "lock deep",
        "diff deep --against flowd.lock",
        "diff deep --against deep",
        "catalogue deep",
        "rust deep",
    ):
        assert run(words.split()) == 0, capsys.readouterr().err
    assert run(["diff", "shorter", "--against", "deep"]) in (0, 1)
    assert "bug" not in capsys.readouterr().err


def test_records_in_records_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are; the classes can be imported."""
    monkeypatch.chdir(tmp_path)
    _write(Path("deep"), 300, "NEXT")
    assert run(["deep", "-o", "jobs"]) == 0
    compile(Path("jobs/deep.py").read_text(), "deep.py", "exec")


_ENDS = """
[record.Either.fields]
one = "R0 | Leaf"
[record.Some.fields]
many = { type = "list[R1]", min_len = 1 }
[record.Loop.fields]
back = "Loop | R1"
[record.Leaf.fields]
x = "str"
"""


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        ("R0", False),
        ("R1", True),
        ("R0?", True),
        ("list[R0]", True),
        ("list[R1]", True),
        ("Either", True),
        ("Some", False),
        ("Loop", False),
    ],
)
def test_job_that_json_cannot_hold_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    fits: bool,
) -> None:
    """Where each value has more than 127 levels; R1 is the first of 127 records."""
    monkeypatch.chdir(tmp_path)
    _write(Path("deep"), 127, "NEXT")
    text = Path("deep/deep.toml").read_text().replace('"R0?"', f'"{kind}"')
    Path("deep/deep.toml").write_text(text + _ENDS)
    assert run(["validate", "deep"]) == (0 if fits else 2)
    said = capsys.readouterr().err
    assert ("deep/deep.toml:2:5: error[E211]: each value has" in said) is not fits
    assert ("let one of the records be `?`" in said) is not fits


def test_deepest_chain_is_written_and_read(tmp_path: Path) -> None:
    """What is generated can hold a job: 127 records in each other."""
    _write(tmp_path / "deep", 126, "NEXT")
    schema = parse(read(tmp_path / "deep"))
    with classes(schema) as names:
        last: Any = names["R126"]
        record = last(x="")
        for number in reversed(range(126)):
            kind: Any = names[f"R{number}"]
            record = kind(a=record)
        job_class: Any = names["J"]
        job = job_class(r=record)
        assert job_class.from_fields(job.to_fields()) == job


def test_long_cycle_is_summarised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names where it begins and ends."""
    tables = [
        f'[record.R{number}.fields]\na = "R{(number + 1) % 1500}"\n'
        for number in range(1500)
    ]
    (tmp_path / "circle.toml").write_text("".join(tables))
    assert run(["validate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "circular" in said
    assert len(said.splitlines()[0]) < 400


def test_records_deeper_than_python_goes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DecodeError and an EncodeError, whichever part of Python gives up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    _write(Path("deep"), 600, "NEXT")
    schema = parse(
        Sources((Source("deep.toml", "deep.toml", Path("deep/deep.toml").read_text()),))
    )
    text, _ = render(schema).values()
    Path("bottomless.py").write_text(text)
    module = importlib.import_module("bottomless")
    for depth in (900, 1_500, 100_000):
        raw = '{"a":' * depth + "{}" + "}" * depth
        with pytest.raises(DecodeError, match=r"J\.r"):
            module.J.from_fields({b"r": raw.encode()})
    record = module.R600(x="")
    for number in reversed(range(600)):
        record = getattr(module, f"R{number}")(a=record)
    with pytest.raises(EncodeError, match="nested too deeply"):
        module.J(r=record).to_fields()


_TREE = """
[record.Node.fields]
name = "str"
children = { type = "list[Node]", default = [] }
next = "Node?"

[record.Group.fields]
of = "dict[str, Group | Leaf]"

[record.Leaf.fields]
any = { type = "json", default = 1 }

[job.Walk.fields]
tree = "Node"
group = "Group?"

[job.Walk.queue]
stream = "walks"
"""


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Any]:
    """The module of a job with records that hold themselves."""
    (tmp_path / "tree.toml").write_text(_TREE)
    with classes(parse(read(tmp_path))) as names:
        yield SimpleNamespace(**names)


def test_a_tree_is_read_as_deep_as_json_may_be(walk: Any) -> None:
    """127 levels are written and read; one more is an error on either side."""
    tree = walk.Node(name="leaf")
    for _ in range(63):
        tree = walk.Node(name="", children=[tree])
    # 64 objects, and the lists in 63 of them; the leaf's empty list is the last level.
    assert tree.to_json()["name"] == ""
    with pytest.raises(EncodeError, match=r"Walk\.tree.*more than 127 levels"):
        walk.Walk(tree=tree).to_fields()
    chain = walk.Node(name="leaf")
    for _ in range(125):
        chain = walk.Node(name="", next=chain)
    job = walk.Walk(tree=chain)
    fields = job.to_fields()
    assert walk.Walk.from_fields(fields) == job
    deeper = b'{"name":"","next":%s}' % fields[b"tree"]
    with pytest.raises(DecodeError, match=r"Walk\.tree.*more than 127 levels"):
        walk.Walk.from_fields({b"tree": deeper})
    with pytest.raises(EncodeError, match="more than 127 levels"):
        walk.Walk(tree=walk.Node(name="", next=chain)).to_fields()


@pytest.mark.parametrize("depth", [200, 400, 5_000])
def test_a_tree_that_is_deeper_than_the_stack_is_refused(walk: Any, depth: int) -> None:
    """In words of one line, on either side, also through dicts and unions."""
    tree = walk.Node(name="leaf")
    group = walk.Group(of={})
    for _ in range(depth):
        tree = walk.Node(name="", children=[tree])
        group = walk.Group(of={"x": group})
    for job in (
        walk.Walk(tree=tree),
        walk.Walk(tree=walk.Node(name=""), group=group),
    ):
        with pytest.raises(EncodeError, match="nested too deeply") as refused:
            job.to_fields()
        assert len(str(refused.value)) < 200
    start = '{"name":"","children":[' * depth
    deep = f'{start}{{"name":"","children":[]}}{"]}" * depth}'
    with pytest.raises(DecodeError, match="nested too deeply") as unread:
        walk.Walk.from_fields({b"tree": deep.encode()})
    assert len(str(unread.value)) < 200


def test_a_value_in_a_circle_is_refused(walk: Any) -> None:
    """A list that was changed to hold its own record has no JSON."""
    tree = walk.Node(name="", children=[])
    tree.children.append(tree)
    with pytest.raises(EncodeError, match="nested too deeply, or in a circle"):
        walk.Walk(tree=tree).to_fields()


def test_the_depth_is_that_of_the_whole_value(walk: Any) -> None:
    """A `json` at the end of a branch counts on, and so does an unknown key."""
    any_: object = 1
    for _ in range(100):
        any_ = [any_]
    group = walk.Group(of={"x": walk.Leaf(any=any_)})
    node = walk.Node(name="")
    assert walk.Walk(tree=node, group=group).to_fields()
    for _ in range(20):
        group = walk.Group(of={"x": group})
    with pytest.raises(EncodeError, match=r"Walk\.group.*more than 127 levels"):
        walk.Walk(tree=node, group=group).to_fields()
    unknown = b'{"name":"","children":[],"later":%s1%s}' % (b"[" * 127, b"]" * 127)
    with pytest.raises(DecodeError, match="more than 127 levels"):
        walk.Walk.from_fields({b"tree": unknown})


def test_decode_error_names_the_place_in_a_tree(walk: Any) -> None:
    """What is wrong three levels down is named with the way to it."""
    raw = b'{"name":"","children":[{"name":"","next":{"name":7,"children":[]}}]}'
    with pytest.raises(
        DecodeError, match=r"\.children\[0\]\.next\.name: expected a str"
    ):
        walk.Walk.from_fields({b"tree": raw})


def test_a_job_of_records_with_an_end_pays_nothing(tmp_path: Path) -> None:
    """The depth is checked once, in the fields of a job whose values may be too deep."""
    flat = """
[record.Plain.fields]
a = "str"
[job.Flat.fields]
x = "list[Plain]"
y = "list[json]"
z = "json"
"""
    (tmp_path / "tree.toml").write_text(f"{_TREE}{flat}")
    text, _ = render(parse(read(tmp_path))).values()
    checked = [line for line in text.splitlines() if "depth_checked" in line]
    names = [line.partition(":")[0] for line in checked]
    assert names == ["_WALK_TREE", "_WALK_GROUP", "_FLAT_Y"]


_AT_THE_LIMIT = """
[record.Any.fields]
any = "json"
[record.Tree.fields]
kids = { type = "list[Tree]", default = [] }
meta = { type = "json", default = 1 }
[record.Filled.fields]
next = "Filled?"
more = { type = "json", default = [[[[[[[[[[[[]]]]]]]]]]]] }
state = { type = "State", default = "on" }
[enum.State]
values = ["on", "other"]
unknown = "OTHER"
[job.J.fields]
json = "json?"
items = "list[json]?"
rows = "dict[str, list[json]]?"
any = "Any?"
one = "list[Any | Tree]?"
tree = "Tree?"
filled = "Filled?"
"""


@pytest.mark.parametrize(
    ("field", "start", "end", "own"),
    [
        ("json", "", "", 0),
        ("items", "[", "]", 1),
        ("rows", '{"a":[', "]}", 2),
        ("any", '{"any":', "}", 1),
        ("one", '[{"type":"Any","any":', "}]", 2),
        ("tree", '{"kids":[],"meta":', "}", 1),
    ],
)
def test_a_field_is_as_deep_as_its_whole_text(
    tmp_path: Path, field: str, start: str, end: str, own: int
) -> None:
    """127 levels are read and written, whatever types they are of; 128 are neither."""
    (tmp_path / "limit.toml").write_text(_AT_THE_LIMIT)
    with classes(parse(read(tmp_path))) as names:
        kind: Any = names["J"]
        inner = 127 - own
        raw = f"{start}{'[' * inner}{']' * inner}{end}".encode()
        job = kind.from_fields({field.encode(): raw})
        assert json.loads(job.to_fields()[field.encode()]) == json.loads(raw)
        deeper = f"{start}{'[' * (inner + 1)}{']' * (inner + 1)}{end}".encode()
        with pytest.raises(DecodeError, match="more than 127 levels"):
            kind.from_fields({field.encode(): deeper})
        _deepen(getattr(job, field))
        with pytest.raises(EncodeError, match="more than 127 levels"):
            job.to_fields()


def _deepen(value: Any) -> None:
    """Put one array more into the deepest place of a value."""
    parent: Any = None
    while value:
        if type(value).__name__ == "list":
            parent, value = value, value[0]
        elif type(value).__name__ == "dict":
            value = value["a"]
        else:
            value = getattr(value, "meta", None) or value.any
    parent[0] = [[]]


def test_value_that_defaults_make_too_deep_is_not_read(tmp_path: Path) -> None:
    """A value is read only if it can be written with what its defaults fill in."""
    (tmp_path / "limit.toml").write_text(_AT_THE_LIMIT)
    unknown = b'{"state":"new"}'
    ways: dict[str, Callable[[int], bytes]] = {
        "tree": lambda depth: b'{"kids":[' * depth + b"{}" + b"]}" * depth,
        "filled": lambda depth: b'{"next":' * depth + b"{}" + b"}" * depth,
        "unknown": lambda depth: b'{"next":' * depth + unknown + b"}" * depth,
    }
    # Levels: the objects and lists around, the object itself, and what its default is.
    deepest = {"tree": 62, "filled": 127 - 1 - 12, "unknown": 126}
    with classes(parse(read(tmp_path))) as names:
        kind: Any = names["J"]
        for way, make in ways.items():
            key = b"tree" if way == "tree" else b"filled"
            job = kind.from_fields({key: make(deepest[way])})
            if way != "unknown":
                assert kind.from_fields(job.to_fields()) == job
            with pytest.raises(DecodeError, match="more than 127 levels"):
                kind.from_fields({key: make(deepest[way] + 1)})


def test_levels_of_defaults_in_defaults_are_counted(tmp_path: Path) -> None:
    """Records that only defaults place fill in their own, however many there are."""
    tables = [
        f'[record.R{number}.fields]\nnext = {{ type = "R{number + 1}", default = {{}} }}\n'
        for number in range(1500)
    ]
    last = """
[record.R1500.fields]
twin = { type = "list[Twin]", default = [{ name = "a" }] }
[record.Twin.fields]
name = "str"
more = { type = "Twin2 | Twin", default = { type = "Twin2", deep = { x = [[]] } } }
[record.Twin2.fields]
deep = "json"
also = { type = "dict[str, list[u8]]", default = { x = [1] } }
[job.J.fields]
r = "R0?"
"""
    (tmp_path / "chain.toml").write_text("".join([*tables, last]))
    schema = parse(read(tmp_path))
    # 1,500 objects and the last; a list, a Twin, a Twin2, its table and two arrays.
    assert Declared(schema).default_levels == 1501 + 6


@pytest.mark.parametrize("count", [3, 1500])
def test_a_circle_of_any_length_is_generated(tmp_path: Path, count: int) -> None:
    """Records that hold each other are found without recursion, in any order."""
    tables = [
        f'[record.R{number}.fields]\na = "R{(number + 1) % count}?"\nb = "R{number // 2}?"\n'
        for number in reversed(range(count))
    ]
    job = '[job.J.fields]\nr = "R0"\n'
    (tmp_path / "circle.toml").write_text("".join([job, *tables]))
    schema = parse(read(tmp_path))
    assert [one.name for one in schema.modules[0].records] == [
        f"R{number}" for number in reversed(range(count))
    ]
    if count == 3:
        with classes(schema) as names:
            kind: Any = names["R0"]
            assert kind.from_json(kind(a=None).to_json()) == kind()


@pytest.mark.parametrize("count", [2, 1500])
def test_a_circle_is_locked_and_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    """A lock of it says the same as the schema; a change in it is found once."""
    monkeypatch.chdir(tmp_path)
    Path("schemas").mkdir()
    tables = [
        f'[record.R{number}.fields]\na = "list[R{(number + 1) % count}]"\n'
        for number in range(count)
    ]
    text = "".join(['[job.J.fields]\nr = "R0"\n', *tables])
    Path("schemas/circle.toml").write_text(text)
    assert run(["lock", "schemas"]) == 0
    for against in ("flowd.lock", "schemas"):
        assert run(["diff", "schemas", "--against", against, "--level", "strict"]) == 0
    assert "0 breaking" in capsys.readouterr().out
    Path("schemas/circle.toml").write_text(f'{text}b = "str"\n')
    assert run(["diff", "schemas", "--against", "flowd.lock"]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "[FIELD" in line]
    assert len(found) == 1
    assert f"R{count - 1}.b is new and required (in J)" in found[0]


def test_a_circle_through_two_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The modules would import each other; the message says where to put the records."""
    (tmp_path / "a.toml").write_text('[record.A.fields]\nb = "B?"\n')
    (tmp_path / "b.toml").write_text('[record.B.fields]\na = "list[A]"\n')
    assert run(["validate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "E409" in said
    assert "third file" in said


def _groups(count: int, *more: str) -> str:
    """A chain of groups with a field each, and a job of the first."""
    tables = [
        f'[group.G{number}]\ninclude = ["G{number + 1}"]\nreserved = ["r{number}"]\n'
        f'[group.G{number}.fields]\nf{number} = "str"\n'
        for number in range(count)
    ]
    last = f'[group.G{count}.fields]\nlast = "str"\n'
    return "".join([*tables, last, '[job.J]\ninclude = ["G0"]\n', *more])


def test_groups_in_groups_take_linear_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group is looked at for the jobs that include it, not for each group around it."""
    looked_at: list[Table] = []
    take = WireKeys.reserve_all

    def counting(keys: WireKeys, group: Table) -> None:
        looked_at.append(group)
        take(keys, group)

    monkeypatch.setattr(WireKeys, "reserve_all", counting)
    (tmp_path / "groups.toml").write_text(_groups(900))
    schema = parse(read(tmp_path))
    (job,) = schema.modules[0].jobs
    assert [job.fields[0].name, job.fields[-1].name] == ["last", "f0"]
    assert len(job.fields) == len(job.reserved) + 1 == 901
    assert len(looked_at) == 901


def test_names_that_groups_share_are_found_however_deep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The innermost group that has both is named; what only another group has is no fault."""
    more = """
[group.Apart.fields]
f300 = "str"
[group.Key]
include = ["G1"]
fields.own = { type = "str", aliases = ["f301"] }
[group.Held]
include = ["G2"]
reserved = ["f302"]
"""
    (tmp_path / "groups.toml").write_text(_groups(400, more))
    assert run(["validate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    found = [line for line in said.splitlines() if "error[" in line]
    assert len(found) == 2
    assert "wire key `f301` is used twice" in found[0]
    assert "the group has the wire key `f302`, which is reserved" in found[1]
