"""`Server`: one real server that a test starts, breaks and ends."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flowd.embedded import Server
from flowd.embedded.probe import listens
from flowd.errors import FatalError
from tests.support.program import is_running
from tests.support.raw import Raw, RawError
from tests.support.waiting import wait_until_blocking


def test_the_url_reaches_it(own_server: Server) -> None:
    """A client connects to `url` and finds the process `pid`."""
    with Raw(own_server.url) as raw:
        assert int(raw.info("process_id")) == own_server.pid


def test_a_port_is_on_this_machine_only(server: Server) -> None:
    """With `tcp` it also listens on a port of 127.0.0.1, which `url` names."""
    with Server(tcp=True) as own, Raw(own.url) as raw:
        assert own.url.startswith("redis://127.0.0.1:")
        assert raw.setting("bind") == "127.0.0.1"
        assert listens(own.socket)


def test_options_reach_it(server: Server) -> None:
    """Further words are its command line, and a password is no obstacle to the start."""
    with Server("--requirepass", "two words") as own, Raw(own.url) as raw:
        with pytest.raises(RawError, match="NOAUTH"):
            raw("PING")
        assert raw("AUTH", "two words") == b"OK"


@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_keeps_place_and_data(own_server: Server, *, crash: bool) -> None:
    """After `restart`, and after `kill`, the same URL leads to the same data."""
    with Raw(own_server.url) as raw:
        raw("SET", "answer", 42)
    first = own_server.pid
    if crash:
        own_server.kill()
        assert not own_server.alive
    own_server.restart()
    assert own_server.pid != first
    with Raw(own_server.url) as raw:
        assert raw("GET", "answer") == b"42"


def test_a_paused_one_answers_when_resumed(own_server: Server) -> None:
    """A paused server takes connections and is silent; resumed, it answers."""
    own_server.pause()
    with Raw(own_server.url, timeout=0.01) as raw, pytest.raises(TimeoutError):
        raw("PING")
    assert own_server.alive
    own_server.resume()
    with Raw(own_server.url) as raw:
        assert raw("PING") == b"PONG"


def test_a_paused_one_can_be_closed(server: Server) -> None:
    """Leaving the block ends even a frozen server, and its temp folder goes."""
    with Server() as own:
        own.pause()
    assert not is_running(own.pid)
    assert not own.folder.exists()
    assert not Path(own.socket).parent.exists()


def test_a_given_folder_stays(server: Server, tmp_path: Path) -> None:
    """A folder given by the caller is kept with its data, the socket's is removed."""
    with Server("--appendonly", "yes", folder=tmp_path) as own:
        assert own.folder == tmp_path
    assert (tmp_path / "server.log").exists()
    assert not Path(own.socket).parent.exists()


def test_a_killed_one_is_noticed(own_server: Server) -> None:
    """`alive` turns false when another process kills the server."""
    assert own_server.alive
    os.kill(own_server.pid, 9)
    wait_until_blocking(lambda: not own_server.alive)


def test_a_refused_option_is_shown_with_the_servers_words(server: Server) -> None:
    """A server that ends at once raises with its log's end and leaves no folder."""
    own = Server("--no-such-option", "1")
    with pytest.raises(FatalError, match=r"ended at once: .*no-such-option[^\n]*$"):
        own.__enter__()
    assert not own.folder.exists()


def test_a_folder_of_another_server_is_named(server: Server, tmp_path: Path) -> None:
    """The reason is shown, not the warnings ahead of it, with the log and what to do."""
    (tmp_path / "appendonly.aof").write_text("of some other program\n")
    own = Server("--appendonly", "yes", folder=tmp_path)
    with pytest.raises(FatalError) as caught:
        own.__enter__()
    said = f"{caught.value}"
    assert re.search(r"ended at once: Bad file format[^\n]* another server", said)
    assert f"(its log: {tmp_path}/server.log)" in said
    assert "WARNING" not in said


def test_a_program_that_cannot_run_is_named(server: Server, tmp_path: Path) -> None:
    """A binary that is not there is an error that names it."""
    with pytest.raises(FatalError, match="/no/such"), Server(binary=Path("/no/such")):
        pass


def test_server_has_no_pid_before_its_start(server: Server) -> None:
    """`pid` of a server that never started says so."""
    own = Server()
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        _ = own.pid
    own.close()
