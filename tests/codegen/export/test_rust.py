"""The Rust structs: what is generated, what is refused, and that the crate reads it.

`FLOWD_TEST_RUST=1` (`make test-rust`) also compiles them with the crate flowd itself.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from flowd import Job
from flowd.model.job import SECRET
from flowd_codegen.cli import run
from flowd_codegen.export.example import Examples
from flowd_codegen.model.declared import Declared
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read

_CASES: Final = Path(__file__).parents[1] / "cases"
_SHOWN: Final = sorted(path.parent for path in _CASES.glob("*/jobs.rs"))
_UPDATE: Final = bool(os.environ.get("UPDATE_GOLDEN"))


@pytest.mark.parametrize("case", _SHOWN, ids=lambda case: case.name)
def test_a_schema_becomes_these_structs(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command writes them byte for byte."""
    monkeypatch.chdir(case)
    golden = case / "jobs.rs"
    if _UPDATE:
        assert run(["rust", ".", "-o", "jobs.rs"]) == 0
    out = tmp_path / "jobs.rs"
    assert run(["rust", ".", "-o", str(out)]) == 0
    assert out.read_bytes() == golden.read_bytes()
    assert run(["rust", ".", "-o", "jobs.rs", "--check"]) == 0


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('job.A.fields.type = "str"', "error[E501]: the wire key `type` cannot be"),
        ('job.A.fields.type = "str"', 'write `key = "r#type"`'),
        ('job.A.fields.x = { type = "str", key = "a-b" }', "the derive has no rename"),
        (
            'job.A.fields.x = { type = "str", key = "r#self" }',
            "the derive has no rename",
        ),
        ('job.A.fields.self = "str"', "the derive has no rename"),
        (
            'job.A.fields.x = { type = "bytes", encoding = "raw" }',
            "error[E502]: the derive writes text",
        ),
        ('job.String.fields.x = "str"', "error[E503]: `String` is a name that Rust"),
        (
            'enum.Self.values = ["a"]\njob.A.fields.x = "Self?"',
            "error[E503]: `Self` is a name that Rust",
        ),
    ],
)
def test_unsupported_derive_is_a_fault(
    schema: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what is wrong and where, exits with 2, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text(schema)
    assert run(["rust", "a.toml", "-o", "jobs.rs"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("a.toml:1:")
    assert said in printed.err
    assert not Path("jobs.rs").exists()


def test_a_secret_is_not_in_the_structs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as a default, not among what is allowed, and not in what `Debug` prints."""
    (tmp_path / "a.toml").write_text("""
        [job.A.fields]
        token = { type = "str", default = "hunter2", secret = true }
        choice = { one_of = ["hunter2"], secret = true }
        open = "str"
        """)
    assert run(["rust", str(tmp_path / "a.toml")]) == 0
    text = capsys.readouterr().out
    assert "hunter2" not in text
    assert "derive(Debug" not in text
    assert text.count("&self.") == text.count("&self.open") == 1


@pytest.mark.skipif(
    not (os.environ.get("FLOWD_TEST_RUST") and shutil.which("cargo")),
    reason="make test-rust compiles with cargo and the crate flowd",
)
def test_the_crate_reads_and_writes_the_same_entries(tmp_path: Path) -> None:
    """An entry of each job goes through the derive and comes back byte for byte."""
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text(_CARGO)
    lines: list[str] = []
    arms: list[str] = []
    mods: list[str] = []
    for case in _SHOWN:
        shutil.copy(case / "jobs.rs", tmp_path / f"src/{case.name}.rs")
        mods.append(f"mod {case.name};")
        schema = parse(read(case))
        examples = Examples(Declared(schema))
        for module in schema.modules:
            name = ".".join(("cases", case.name, "expected", *module.name))
            classes = importlib.import_module(name)
            for job in module.jobs:
                kind: type[Job] = getattr(classes, job.name)
                known = {f.key: examples.entry(f) for f in job.fields}
                entry = {key.encode(): text.encode() for key, text in known.items()}
                if kind.SPEC.version > 1:
                    entry[b"_v"] = b"%d" % kind.SPEC.version
                if SECRET in known.values():
                    continue
                if not any("<" in text for text in known.values()):
                    # So that it is the text that Python itself would write.
                    entry = kind.from_fields(entry).to_fields()
                if b"_v" in entry:
                    entry[b"_v"] = entry.pop(b"_v")  # the struct has it last
                words = [f"{key.hex()}={value.hex()}" for key, value in entry.items()]
                path = f"{case.name}::{job.name}"
                lines.append(" ".join([path, *words]))
                arms.append(f'"{path}" => round::<{path}>(pairs),')
    main = _MAIN.replace("MODS", "\n".join(mods)).replace("ARMS", "\n".join(arms))
    (tmp_path / "src/main.rs").write_text(main)
    done = subprocess.run(
        ["cargo", "run", "-q"],
        cwd=tmp_path,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error" not in done.stderr, done.stderr
    assert done.stdout.splitlines() == lines
    assert len(lines) >= 5


_CARGO: Final = """\
[package]
name = "roundtrip"
version = "0.1.0"
edition = "2024"

[dependencies]
flowd = "0.3"
"""

_MAIN: Final = """\
MODS

type Pairs = Vec<(String, flowd::redis::Value)>;

fn round<T: flowd::Job>(pairs: Pairs) -> Pairs {
    T::try_from_pairs(&pairs).unwrap().try_to_pairs().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn main() {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let path = words.next().unwrap();
        let pairs: Pairs = words
            .map(|word| {
                let (key, value) = word.split_once('=').unwrap();
                (
                    String::from_utf8(bytes(key)).unwrap(),
                    flowd::redis::Value::BulkString(bytes(value)),
                )
            })
            .collect();
        let written = match path {
            ARMS
            _ => panic!("{path}"),
        };
        print!("{path}");
        for (key, value) in written {
            let flowd::redis::Value::BulkString(value) = value else {
                panic!()
            };
            let hex = |raw: &[u8]| raw.iter().map(|b| format!("{b:02x}")).collect::<String>();
            print!(" {}={}", hex(key.as_bytes()), hex(&value));
        }
        println!();
    }
}
"""
