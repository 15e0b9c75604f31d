"""Imports run one way."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.house.sources import GENERATOR, ROOT, RUNTIME, imported, modules

_ROW = re.compile(r"^\| (\d+) \| ((?:`\w+` ?)+)\|", re.MULTILINE)


def layers() -> dict[str, int]:
    """Module -> layer, as the architecture page says."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    return {
        name: int(layer)
        for layer, names in _ROW.findall(page)
        for name in re.findall(r"\w+", names)
    }


def test_a_module_imports_only_from_higher_layers() -> None:
    """No module of the runtime imports one of its own or of a lower layer."""
    known = layers()
    wrong: list[str] = []
    for path in modules(RUNTIME):
        name = path.relative_to(RUNTIME).parts[0].removesuffix(".py")
        if name in ("__init__", "__main__"):
            continue
        for target in imported(path):
            package, _, rest = target.partition(".")
            other = rest.partition(".")[0]
            if package != "flowd" or other == name:
                continue
            if other not in known or known[other] >= known[name]:
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    assert not wrong


def test_the_runtime_never_imports_the_generator() -> None:
    """The runtime and its sources do not know the generator or its libraries."""
    forbidden = {"flowd_codegen", "jinja2", "tomli", "tomllib", "black"}
    for path in modules(RUNTIME):
        assert not forbidden & {name.partition(".")[0] for name in imported(path)}


def test_the_generator_imports_only_what_both_must_agree_on() -> None:
    """Of the runtime, the generator imports codecs, rules and the contract.

    `live` is what it is for: to ask a server which jobs new classes could not read.
    """
    agreed = ("flowd.wire", "flowd.policy", "flowd.job", "flowd.errors")
    asking = ("flowd.address", "flowd.connection", "flowd.ops")
    for path in modules(GENERATOR):
        allowed = (*agreed, *asking) if path == GENERATOR / "live.py" else agreed
        for name in imported(path):
            if name.partition(".")[0] == "flowd":
                assert name.startswith(allowed), f"{path} imports {name}"


def test_only_one_command_of_the_generator_asks_a_server() -> None:
    """What reads queues is loaded for `live` alone."""
    program = (
        "import sys; from flowd_codegen.cli import run;"
        "code = run(['validate', 'schemas']);"
        "sys.exit(code or 'flowd.ops' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_worker_loads_nothing_of_the_generator() -> None:
    """Importing flowd and generated jobs loads no library of the generator."""
    program = (
        "import sys, flowd, jobs.email, jobs.crawl;"
        "loaded = {'flowd_codegen', 'jinja2', 'tomli', 'black'} & set(sys.modules);"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
