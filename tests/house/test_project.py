"""What a team needs to adopt flowd is there and true: images, workflows, forms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest
import yaml

from tests.house.sources import ROOT
from tests.support.servers import MATRIX

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def is_mapping(node: object) -> TypeGuard[dict[object, object]]:
    return isinstance(node, dict)


def is_list(node: object) -> TypeGuard[list[object]]:
    return isinstance(node, list)


def mapping(path: Path) -> dict[object, object]:
    """A YAML file whose document is a mapping."""
    loaded: object = yaml.safe_load(path.read_text("utf-8"))
    assert is_mapping(loaded)
    return loaded


def values(node: object, key: str) -> Iterator[object]:
    """Every value of a key, however deep."""
    if is_mapping(node):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif is_list(node):
        for value in node:
            yield from values(value, key)


def words(node: object) -> list[str]:
    """A list of texts."""
    assert is_list(node)
    return [str(word) for word in node]


def copied() -> Iterator[str]:
    """What the Dockerfile copies from the repository."""
    for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            yield from line.split()[1:-1]


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS], ids=lambda path: path.name)
def test_each_workflow_and_form_is_a_mapping(path: Path) -> None:
    """GitHub reads a mapping with a name."""
    if path.name != "config.yml":
        assert mapping(path)["name"]


def test_the_workflow_runs_commands_that_exist() -> None:
    """Each `make` target of a workflow is one of the Makefile."""
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    used = [
        word
        for path in WORKFLOWS
        for command in values(mapping(path), "run")
        if str(command).startswith("make ")
        for word in str(command).split()[1:]
        if "=" not in word
    ]
    assert used
    assert set(used) <= targets


def test_the_workflow_names_servers_that_exist() -> None:
    """Each row of the matrix chooses a server, a transport and a loop of the tests."""
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert set(re.findall(r"server: (\w+)", text)) <= {row.name for row in MATRIX}


def test_every_supported_python_is_tested() -> None:
    """A Python in the classifiers is in the matrix of the workflow."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    supported = set(re.findall(r'Python :: (3\.\d+)"', project))
    versions, *_ = values(mapping(ROOT / ".github/workflows/ci.yml"), "python")
    assert supported <= {*words(versions)}


def test_the_dockerfile_has_no_findings() -> None:
    """Hadolint finds nothing in it."""
    linter = shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("hadolint has no wheel for this system")
    done = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_gets_what_the_dockerfile_copies() -> None:
    """Each copied path exists, and `.dockerignore` lets it through."""
    rules = (ROOT / ".dockerignore").read_text("utf-8").split()
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    paths = set(copied())
    assert all((ROOT / path).exists() for path in paths)
    assert paths <= allowed


def test_the_compose_file_leaves_time_for_the_grace() -> None:
    """A worker is killed later than its grace ends, and its server keeps what it has."""
    services = mapping(ROOT / "compose.yaml")["services"]
    (limit,) = values(services, "stop_grace_period")
    command = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text("utf-8"))
    match = re.search(r"^CMD (\[.*\])", command, re.MULTILINE)
    assert match is not None
    run = words(yaml.safe_load(match[1]))
    grace = float(run[run.index("--grace") + 1])
    assert float(str(limit).removesuffix("s")) >= grace + 5
    server = " ".join(words(next(values(services, "command"))))
    assert "--appendonly yes" in server
    assert "--maxmemory-policy noeviction" in server
