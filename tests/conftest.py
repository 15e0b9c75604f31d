"""What every test may ask for: a real server, a stream's name, a loop to run on.

Environment:
    FLOWD_TEST_SERVER: valkey9 (default), redis62, path, cluster or sentinel; see
        `tests/support/servers.py`. `make test-nodes` says what runs on the last two.
    FLOWD_TEST_TRANSPORT: unix (default), tcp or tls, which `path` may have.
    FLOWD_TEST_LOOP: asyncio (default) or uvloop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hypothesis
import pytest
import uvloop

from flowd.embedded import Server
from tests.support.cluster import Cluster
from tests.support.raw import Raw
from tests.support.sentinels import Sentinels
from tests.support.servers import chosen, serving, transport

if TYPE_CHECKING:
    from tests.support.queues import MakeQueue

_ROOT: Final = Path(__file__).parent.parent
_LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_LOOP: Final = os.environ.get("FLOWD_TEST_LOOP", "asyncio")
# For a test that hangs. Each command of `tests/cli` starts a process, which takes 0.6 s of
# a CPU that many may want.
_LIMIT: Final = 120.0


def pytest_configure(config: pytest.Config) -> None:
    """Choose server and loop, and generate the example jobs for import."""
    # A shell that starts the tests in the background ignores Ctrl-C for all below it, and
    # nohup the end of the terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if _LOOP not in _LOOPS:
        raise pytest.UsageError(f"FLOWD_TEST_LOOP is {_LOOP!r}; asyncio or uvloop")
    try:
        program = chosen().find()
        transport()
    except LookupError as error:
        raise pytest.UsageError(str(error)) from error
    config.addinivalue_line(
        "markers", f"limit(seconds): how long a coroutine test may take, {_LIMIT:g} s"
    )
    config.addinivalue_line(
        "markers", "one_server: looks inside one server, so it is not for a cluster"
    )
    if program:
        os.environ["FLOWD_SERVER_BINARY"] = str(program)
    _generate_jobs(config)
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile(
        "flowd",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("flowd")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Pass over what can be asked of one server alone."""
    if item.get_closest_marker("one_server") and chosen().name == "cluster":
        pytest.skip("it looks inside one server")


def pytest_report_header() -> str:
    """Say what the run is about."""
    server = f"{chosen().name} ({chosen().find()}) over {transport()}"
    return f"server: {server}, loop: {_LOOP}"


def _generate_jobs(config: pytest.Config) -> None:
    """Generate `jobs` from `schemas/` and let this process and its children import it."""
    if not (_ROOT / "codegen/flowd_codegen/__main__.py").exists():
        return
    folder = Path(tempfile.mkdtemp(prefix="flowd-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder))
    command = (sys.executable, "-m", "flowd_codegen", "schemas", "-o", folder / "jobs")
    done = subprocess.run(
        command, cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise pytest.UsageError(f"schemas/ cannot be generated:\n{done.stderr}")
    sys.path.insert(0, str(folder))
    inherited = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), inherited)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test, with a loop of its own and a time limit."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    names = inspect.signature(test).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    marker = pyfuncitem.get_closest_marker("limit")
    limit = marker.args[0] if marker else _LIMIT
    with asyncio.Runner(debug=False, loop_factory=_LOOPS[_LOOP]) as runner:
        runner.run(_judge(test(**arguments), limit))
    return True


async def _judge(test: Coroutine[object, object, object], limit: float) -> None:
    """Await the test; what it leaves running or lets fail unseen fails it."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    async with asyncio.timeout(limit):
        await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"the test left tasks running: {left}"
    assert not faults, f"the loop met errors that were not handled: {faults}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The session's server (one per xdist worker); for tests that leave it whole."""
    with _start("--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="session")
def session_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the session's server is, or its sentinels, or its cluster."""
    program = chosen().find()
    if chosen().name not in {"cluster", "sentinel"} or program is None:
        server: Server = request.getfixturevalue("server")
        yield server.url
    elif chosen().name == "cluster":
        with Cluster(program, masters=3, replicas=0) as cluster:
            yield cluster.url
    else:
        with Sentinels(program, replicas=1, sentinels=1) as sentinels:
            yield sentinels.url


@pytest.fixture
def loose_cluster() -> Iterator[Cluster]:
    """Three masters without replicas, which serve on while another one is away."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    options = ("--cluster-require-full-coverage", "no")
    with Cluster(program, *options, replicas=0) as cluster:
        yield cluster


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server of the test's own, to kill, pause and restart; it keeps its data.

    All of it: with everysec a killed server forgets what it answered while a flush was
    under way.
    """
    with _start("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def other_server() -> Iterator[Server]:
    """Another server of the test's own, which may take the place of `own_server`."""
    with _start("--appendonly", "no") as server:
        yield server


@pytest.fixture
def redis_url(session_url: str) -> Iterator[str]:
    """Where the session's server is; emptied after the test."""
    yield session_url
    with Raw(session_url) as raw:
        raw("FLUSHALL")


@pytest.fixture
def raw(redis_url: str) -> Iterator[Raw]:
    """A plain client, to look inside the session's server."""
    with Raw(redis_url) as raw:
        yield raw


@pytest.fixture
def stream() -> str:
    """A stream name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_queue(redis_url: str, stream: str) -> MakeQueue:
    """Makes queues of `Email` on the test's stream."""
    # Not before the jobs are generated.
    from tests.support.queues import MakeQueue

    return MakeQueue(redis_url, stream)


def _start(*options: str) -> Server:
    candidate = chosen()
    program = candidate.find()
    if program is None:
        pytest.skip(f"{candidate.name}: {candidate.missing}")
    return serving(*options, binary=program)
