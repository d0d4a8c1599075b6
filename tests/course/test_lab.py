"""``course.py lab``: the port, the first window, the token, and an end that leaves nothing running."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

import course

ROOT = Path(__file__).resolve().parents[2]


def test_a_free_port_is_used_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert course.free_port(port) == port


def test_a_taken_port_gives_the_next_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port < course.free_port(port) < port + 50


def test_a_port_taken_on_every_address_of_the_machine_counts_as_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        assert course.free_port(port) != port


def test_when_no_port_is_free_the_error_names_the_option() -> None:
    with (
        socket.create_server(("127.0.0.1", 65535)),
        pytest.raises(course.CourseError, match=r"No free port from 65535.*--port"),
    ):
        course.free_port(65535)


def test_the_first_window_shows_the_table_of_contents_and_no_news(house: ModuleType) -> None:
    """What JupyterLab makes of these files is seen in tests/browser; here: that they stand where it looks."""
    house.prepare_lab()
    config = house.STATE / "jupyter" / "config" / "labconfig" / "default_setting_overrides.json"
    notification = json.loads(config.read_text(encoding="utf-8"))["@jupyterlab/apputils-extension:notification"]
    assert notification == {"fetchNews": "false", "checkForUpdates": False}
    (window,) = (house.STATE / "jupyter" / "workspaces").iterdir()
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    loaded = WorkspacesManager(str(window.parent)).load("default")
    assert loaded["data"]["layout-restorer:data"]["left"]["current"] == "@jupyterlab/toc:plugin"


def test_printed_text_breaks_between_words(house: ModuleType) -> None:
    house.prepare_lab()
    style = (house.STATE / "jupyter" / "config" / "custom" / "custom.css").read_text(encoding="utf-8")
    assert ".jp-RenderedText pre { word-break: normal" in style


def test_a_server_that_speaks_no_http_does_not_count_as_the_lab() -> None:
    """A connection to a port where nobody listens yet may meet itself, and hears its own question as the answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(1000))

        threading.Thread(target=echo, daemon=True).start()
        port = server.getsockname()[1]
        assert not course.answers_locally(port)
    assert not course.answers_locally(port)


def test_a_window_that_the_learner_arranged_is_kept(house: ModuleType) -> None:
    house.prepare_lab()
    (window,) = (house.STATE / "jupyter" / "workspaces").iterdir()
    window.write_text("mine", encoding="utf-8")
    house.prepare_lab()
    assert window.read_text(encoding="utf-8") == "mine"


def test_a_server_that_does_not_start_shows_the_end_of_its_log(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "python_and_environment", lambda *_: (sys.executable, dict(os.environ)))
    monkeypatch.setattr(house, "LAB_PROGRAM", "raise SystemExit('the water is off')")
    with pytest.raises(house.CourseError, match=r"JupyterLab did not start[\s\S]*the water is off[\s\S]*doctor"):
        house.lab(9300, open_browser=False, use_current=True)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Below the ports that a system gives to outgoing connections: one of those may connect to itself by chance."""
    with socket.create_server(("127.0.0.1", course.free_port(20888))) as server:
        yield server.getsockname()[1]


@pytest.fixture
def real_lab(tmp_path: Path, taken_port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command and what it printed, with a home folder that cannot be written and its first port taken."""
    (tmp_path / "home").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    env = os.environ | {"COURSE_STATE": str(tmp_path / "state"), "HOME": str(tmp_path / "home")}
    command = [sys.executable, str(ROOT / "course.py"), "lab", "--no-browser", "--port", str(taken_port)]
    if Path(sys.prefix) != ROOT / ".venv":
        if course.what_is_missing([]):
            pytest.skip("neither .venv nor a complete environment")
        command.append("--use-current-env")
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as lab:
        limit = threading.Timer(90, lab.terminate)  # whatever fails, nothing waits for ever
        limit.start()
        assert lab.stdout is not None
        printed = ""
        for line in lab.stdout:
            printed += line
            if "Leave this window open" in line:
                break
        yield lab, printed
        lab.terminate()
        limit.cancel()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C cannot be sent to one process there")
def test_the_lab_answers_asks_for_its_token_and_leaves_nothing_behind(
    real_lab: tuple[subprocess.Popen[str], str], taken_port: int, tmp_path: Path
) -> None:
    lab, printed = real_lab
    chosen = re.search(rf"Port {taken_port} is taken by another program; using (\d+)\.", printed)
    assert chosen, printed
    address = re.search(rf"http://127\.0\.0\.1:{chosen[1]}(/\S*)\?token=([0-9a-f]{{48}})\n", printed)
    assert address, printed
    assert address[1] == "/lab/tree/notebooks/00_start_here.ipynb" or not (ROOT / course.FIRST_CHAPTER).exists()

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    contents = f"http://127.0.0.1:{chosen[1]}/api/contents"
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        direct.open(contents)
    refused.value.close()
    with direct.open(f"{contents}?token={address[2]}") as reply:
        names = {entry["name"] for entry in json.load(reply)["content"]}
    assert {"course.py", "README.md", "course_lib"} <= names, "the lab does not show the course's own folder"
    children = psutil.Process(lab.pid).children(recursive=True)
    assert children
    assert all(address[2] not in " ".join(child.cmdline()) for child in children), "the token can be listed"

    lab.send_signal(signal.SIGINT)
    assert lab.wait(30) == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == [], "something of the lab still runs"
    assert list((tmp_path / "home").iterdir()) == []


# Takes one second to end, as a server with kernels does, and says when it can be asked to.
SLOW_SERVER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))
print("ready", flush=True)
time.sleep(60)
"""
KEEPER = f"""
import subprocess, sys
sys.path.insert(0, ".")
import course
server = subprocess.Popen([sys.executable, "-c", {SLOW_SERVER!r}], start_new_session=True)
with course.ended_with_us(server):
    print(server.pid, flush=True)
    server.wait()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends the processes of a window by itself")
@pytest.mark.parametrize("signals", [["SIGHUP"], ["SIGTERM"], ["SIGINT", "SIGINT"]], ids="+".join)
def test_however_the_lab_is_ended_its_server_ends_too(house: ModuleType, signals: list[str]) -> None:
    """A closed window, a kill, an impatient Ctrl+C: an orphan would keep port and memory."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], cwd=house.ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        assert keeper.stdout is not None
        printed = {keeper.stdout.readline().strip(), keeper.stdout.readline().strip()}
        server = psutil.Process(int(*printed - {"ready"}))
        for name in signals:
            keeper.send_signal(getattr(signal, name))
            time.sleep(0.3)
        assert keeper.wait(12) == 0  # well before the 15 s after which the server would be killed and its kernels not
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.name == "nt", reason="there is no nohup")
def test_a_lab_that_is_meant_to_outlive_its_window_does() -> None:
    """nohup ignores SIGHUP before it starts us; and afterwards every signal is handled as it was before."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt = signal.getsignal(signal.SIGINT)
        with course.ended_with_us(ended):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) != interrupt
        assert signal.getsignal(signal.SIGINT) == interrupt
    finally:
        signal.signal(signal.SIGHUP, before)
