"""The environment is made once, made again when it must be, and never left half-made as if it were whole."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import course


@pytest.fixture
def installed(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A house whose virtual environments are real but empty; the list holds the extras of each installation."""
    calls: list[list[str]] = []

    def fake_run(command: list[str], env: object = None) -> int:
        assert command[1:3] == ["-m", "venv"], f"unexpected command {command}"
        venv.create(command[3], with_pip=False)
        return 0

    monkeypatch.setattr(house, "run", fake_run)
    monkeypatch.setattr(house, "install_packages", lambda extras: calls.append(list(extras)))
    return calls


# ---- when to install -------------------------------------------------------------------------------------------------


def test_a_second_call_installs_nothing(house: ModuleType, installed: list[list[str]]) -> None:
    assert not house.is_ready([])
    assert house.make_ready([]) == house.venv_python()
    assert house.make_ready([]) == house.venv_python()
    assert installed == [[]]
    assert subprocess.run([house.venv_python(), "-c", ""], check=False).returncode == 0


def test_the_test_extra_is_added_once_and_also_serves_the_lab(house: ModuleType, installed: list[list[str]]) -> None:
    house.make_ready([])
    house.make_ready(["test"])
    house.make_ready([])
    house.make_ready(["test"])
    assert installed == [[], ["test"]]


@pytest.mark.parametrize(
    ("name", "old", "new", "again"),
    [
        ("requirements.txt", "torch==", "torch==9", True),
        ("pyproject.toml", '"numpy>=', '"numpy>=1.9', True),
        ("pyproject.toml", "line-length = 120", "line-length = 99", False),  # no concern of the environment
    ],
)
def test_new_pins_are_installed_and_new_lint_rules_are_not_a_reason(
    house: ModuleType, installed: list[list[str]], name: str, old: str, new: str, again: bool
) -> None:
    house.make_ready([])
    path = house.ROOT / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    house.make_ready([])
    assert len(installed) == 1 + again


def test_another_python_or_a_moved_folder_is_a_reason_to_install(
    house: ModuleType, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.make_ready([])
    settings = house.VENV / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8")
    version = f"version = {sys.version_info[0]}.{sys.version_info[1]}"
    assert version in text
    settings.write_text(text.replace(version, "version = 3.99"), encoding="utf-8")
    assert not house.is_ready([])
    settings.write_text(text, encoding="utf-8")
    assert house.is_ready([])
    monkeypatch.setattr(house, "ROOT", house.ROOT / "elsewhere")
    assert not house.is_ready([])


@pytest.mark.parametrize("stamp", ["", "{", "[]", "{}", '{"key": 1}', '{"key": "old", "extras": []}'])
def test_a_stamp_that_cannot_be_read_or_does_not_fit_counts_as_none(
    house: ModuleType, installed: list[list[str]], stamp: str
) -> None:
    house.make_ready([])
    house.stamp_file().write_text(stamp, encoding="utf-8")
    assert not house.is_ready([])


# ---- installations that were cut off ---------------------------------------------------------------------------------


def test_an_installation_that_was_cut_off_is_done_again_from_nothing(
    house: ModuleType,
    installed: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cut_off(extras: list[str]) -> None:
        (house.VENV / "half a package").write_text("", encoding="utf-8")
        assert not house.stamp_file().exists(), "the stamp must come last"
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(house, "install_packages", cut_off)
        with pytest.raises(KeyboardInterrupt):
            house.make_ready([])
    assert (house.VENV / "half a package").exists()
    assert not house.is_ready([])
    assert house.state_of_venv() == "unfinished"
    house.make_ready([])
    assert not (house.VENV / "half a package").exists()
    assert house.is_ready([])
    assert "was cut off" in capsys.readouterr().out


def test_an_update_that_was_cut_off_also_starts_from_nothing(
    house: ModuleType, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete environment, then new pins: half of the old packages and half of the new are not a course."""
    house.make_ready([])
    (house.VENV / "old").write_text("", encoding="utf-8")

    def cut_off(extras: list[str]) -> None:
        assert not house.stamp_file().exists()
        raise OSError("no space left on device")

    with monkeypatch.context() as during:
        during.setattr(house, "install_packages", cut_off)
        with pytest.raises(OSError, match="no space"):
            house.make_ready(["test"])
    house.make_ready(["test"])
    assert not (house.VENV / "old").exists()


def test_an_update_that_succeeds_keeps_what_is_there(house: ModuleType, installed: list[list[str]]) -> None:
    house.make_ready([])
    (house.VENV / "old").write_text("", encoding="utf-8")
    house.make_ready(["test"])
    assert (house.VENV / "old").exists()


def test_an_environment_whose_python_is_gone_is_made_again(house: ModuleType, installed: list[list[str]]) -> None:
    house.make_ready([])
    settings = house.VENV / "pyvenv.cfg"
    lines = settings.read_text(encoding="utf-8").splitlines()
    gone = [f"home = {house.ROOT / 'gone'}" if line.startswith("home") else line for line in lines]
    settings.write_text("\n".join(gone), encoding="utf-8")
    assert not house.is_ready([])
    assert house.state_of_venv() == "unfinished"
    house.make_ready([])
    assert installed == [[], []]


def test_an_environment_of_somebody_else_is_left_alone(house: ModuleType, installed: list[list[str]]) -> None:
    house.VENV.mkdir()
    (house.VENV / "mine").write_text("precious", encoding="utf-8")
    with pytest.raises(house.CourseError, match=r"not made by course\.py[\s\S]*--use-current-env"):
        house.make_ready([])
    assert (house.VENV / "mine").read_text(encoding="utf-8") == "precious"
    assert installed == []


def test_a_python_without_venv_is_told_what_to_install(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "run", lambda command, env=None: 1)
    with pytest.raises(house.CourseError, match=rf"sudo apt install python3\.{sys.version_info[1]}-venv"):
        house.make_ready([])


def test_a_second_installer_waits_for_the_first(house: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    hold = "import sys, time; sys.path.insert(0, '.'); import course\nwith course.only_one_installer():\n"
    hold += "    print('held', flush=True); time.sleep(2)"
    with subprocess.Popen([sys.executable, "-c", hold], cwd=house.ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        started = time.monotonic()
        with house.only_one_installer():
            waited = time.monotonic() - started
    assert waited > 0.4  # it tries every half second, so at least once in vain
    assert "Another course.py is installing" in capfd.readouterr().out


# ---- what is installed, from where -----------------------------------------------------------------------------------


@pytest.fixture
def pip_calls(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """The arguments and variables of every pip call; each succeeds unless it says --no-index."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def fake_run(command: list[str], env: dict[str, str]) -> int:
        assert command[: len(house.pip_command())] == house.pip_command()
        calls.append((command[len(house.pip_command()) :], env))
        return 1 if "--no-index" in command else 0

    monkeypatch.setattr(house, "run", fake_run)
    return calls


def test_the_lab_installs_only_what_a_learner_needs(
    house: ModuleType, pip_calls: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "torch_source", lambda version, folder: house.TorchSource(["--index-url", "x"], "words"))
    house.install_packages([])
    version = house.pins()
    assert [arguments for arguments, _ in pip_calls] == [
        ["install", f"setuptools=={version['setuptools']}"],
        ["install", "--index-url", "x", "--no-deps", f"torch=={version['torch']}"],
        ["install", "--constraint", "requirements.txt", "--no-build-isolation", "--editable", "."],
    ]
    pip_calls.clear()
    house.install_packages(["test"])
    assert pip_calls[-1][0][-1] == ".[test]"


def test_pip_gives_up_soon_stays_in_the_environment_and_ignores_other_pythons(
    house: ModuleType, pip_calls: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "torch_source", lambda version, folder: house.TorchSource(None, "words"))
    for variable in ("PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    house.install_packages([])
    for _, env in pip_calls:
        assert (env["PIP_DEFAULT_TIMEOUT"], env["PIP_RETRIES"], env["PIP_USER"]) == ("20", "2", "0")
        assert "PYTHONPATH" not in env
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "180")
    assert house.pip_environment()["PIP_DEFAULT_TIMEOUT"] == "180", "a person who set a limit keeps it"


def test_a_folder_of_wheels_is_tried_without_any_index_first(
    house: ModuleType,
    pip_calls: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("COURSE_WHEELS", str(tmp_path))
    monkeypatch.setattr(house, "torch_source", lambda version, folder: house.TorchSource(None, "words"))
    house.install_packages([])
    routes = [arguments[1:-1] for arguments, _ in pip_calls[:2]]
    assert routes == [["--no-index", "--find-links", str(tmp_path)], ["--find-links", str(tmp_path)]]


def test_a_folder_of_wheels_that_does_not_exist_is_an_error(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_WHEELS", "/no/such/folder")
    with pytest.raises(house.CourseError, match="COURSE_WHEELS names /no/such/folder, and there is no such folder"):
        house.wheels_folder()


def test_a_cpu_build_that_cannot_be_installed_leaves_the_choice_to_pip(
    house: ModuleType, pip_calls: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "torch_source", lambda version, folder: house.TorchSource(["--no-index"], "words"))
    house.install_packages([])
    assert "--no-index" in pip_calls[1][0]
    assert pip_calls[2][0][1:3] == ["--constraint", "requirements.txt"]


def test_packages_that_cannot_be_installed_are_an_error_that_names_the_doctor(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "run", lambda command, env=None: 1)
    with pytest.raises(house.CourseError, match=r"could not be installed[\s\S]*python course\.py doctor"):
        house.install_packages([])


@pytest.mark.parametrize(
    ("platform", "gpu", "local", "index", "route", "words"),
    [
        ("win32", False, None, True, None, "usual build"),
        ("darwin", False, "2.13.0+cpu", True, None, "usual build"),
        ("linux", True, "2.13.0+cpu", True, None, "for NVIDIA GPUs"),
        ("linux", False, "2.13.0+cpu", True, ["--no-index"], "from a wheel on this machine"),
        ("linux", False, "2.13.0", True, ["--index-url", course.CPU_INDEX], "own index"),  # a local build with CUDA
        ("linux", False, None, True, ["--index-url", course.CPU_INDEX], "own index"),
        ("linux", False, None, False, None, "no CPU build within reach"),
    ],
)
def test_where_pytorch_comes_from(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    gpu: bool,
    local: str | None,
    index: bool,
    route: list[str] | None,
    words: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(course, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(course, "version_that_pip_finds", lambda version, route: local)
    monkeypatch.setattr(course, "answers", lambda address, seconds: index and address.startswith(course.CPU_INDEX))
    source = course.torch_source("2.13.0", None)
    assert source.route == route
    assert words in source.words


def write_wheel(folder: Path, version: str, tag: str) -> None:
    information = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{information}/RECORD", "")


@pytest.fixture
def bare_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pip of this Python, without the machine's own settings."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(course, "pip_command", lambda: [sys.executable, "-m", "pip"])


@pytest.mark.parametrize("how", ["an argument", "the setting of the person"])
@pytest.mark.usefixtures("bare_pip")
def test_pip_is_asked_for_a_local_cpu_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    write_wheel(tmp_path, "2.13.0+cpu", "py3-none-any")
    route = ["--no-index", "--find-links", str(tmp_path)]
    if how != "an argument":
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        route = ["--no-index"]
    assert course.version_that_pip_finds("2.13.0", route) == "2.13.0+cpu"
    assert course.version_that_pip_finds("2.12.0", route) is None, "another version is no help"


@pytest.mark.usefixtures("bare_pip")
def test_a_local_wheel_for_another_python_does_not_count(tmp_path: Path) -> None:
    write_wheel(tmp_path, "2.13.0+cpu", "cp39-cp39-manylinux_2_28_x86_64")
    assert course.version_that_pip_finds("2.13.0", ["--no-index", "--find-links", str(tmp_path)]) is None


@pytest.mark.skipif(course.has_nvidia_gpu(), reason="this machine has an NVIDIA GPU")
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: x)'", True),
        ("echo 'No devices were found'; exit 6", False),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9", False),
        ("exit 0", False),
    ],
)
def test_a_gpu_counts_when_its_driver_lists_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: bool
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert course.has_nvidia_gpu() is expected


# ---- servers that do not answer --------------------------------------------------------------------------------------


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


@pytest.fixture
def web_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/whl/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/whl/cpu"
        server.shutdown()


def test_an_index_answers_or_does_not(web_server: str) -> None:
    assert course.answers(f"{web_server}/torch/", seconds=3)
    assert not course.answers(f"{web_server}/nothing/", seconds=3)


def test_an_index_that_never_answers_is_given_up_in_time(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = time.monotonic()
    assert not course.answers(black_hole, seconds=0.5)
    assert time.monotonic() - started < 4  # 0.5 s, and time for a busy machine to notice


def test_a_name_server_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit of a socket does not cover looking up a name, which may take a minute."""
    asked = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        asked.set()
        time.sleep(10)
        raise OSError("no such host")

    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    started = time.monotonic()
    assert not course.answers("http://index.invalid/", seconds=2)
    assert time.monotonic() - started < 5  # 2 s, and time for a busy machine to notice
    assert asked.is_set()


def test_an_install_with_no_index_in_reach_ends_soon_and_says_what_to_do(house: ModuleType, black_hole: str) -> None:
    """The whole command, as a learner gives it, against a server that swallows every question."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": black_hole, "NO_PROXY": "127.0.0.1"}
    env |= {"PIP_DEFAULT_TIMEOUT": "1", "PIP_RETRIES": "0"}
    command = [sys.executable, "course.py", "lab", "--no-browser"]
    done = subprocess.run(command, cwd=house.ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert "The packages could not be installed" in done.stderr
    assert "python course.py doctor" in done.stderr
    assert "Traceback" not in done.stderr
    assert house.state_of_venv() == "unfinished"


# ---- an environment that is already active ---------------------------------------------------------------------------


@pytest.fixture
def nothing_may_run(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("something was started")

    monkeypatch.setattr(house, "run", refuse)
    monkeypatch.setattr(house, "install", refuse)


@pytest.mark.usefixtures("nothing_may_run")
def test_an_active_environment_that_has_everything_is_used_as_it_is(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "what_is_missing", lambda extras: [])
    monkeypatch.setenv("PYTHONPATH", "/mine")
    python, env = house.python_and_environment([], use_current=True)
    assert python == sys.executable
    assert env["PYTHONPATH"] == "/mine"
    assert not house.VENV.exists()


@pytest.mark.usefixtures("nothing_may_run")
def test_an_active_environment_that_lacks_something_is_told_what_and_how(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"numpy": "1.26.4", "torch": "2.13.0+cpu"}

    def version(name: str) -> str:
        if name == "tqdm":
            raise house.importlib.metadata.PackageNotFoundError(name)
        return versions.get(name, "9999.0")

    monkeypatch.setattr(house.importlib.metadata, "version", version)
    monkeypatch.setattr(house, "installed_names", set)
    with pytest.raises(house.CourseError) as error:
        house.python_and_environment(["test"], use_current=True)
    text = str(error.value)
    assert "numpy 1.26.4 is too old: 2.0 or newer is needed" in text
    assert f"tqdm is not installed (the course was tested with {house.pins()['tqdm']})" in text
    assert "course_lib, the course itself, is not installed" in text
    assert "torch" not in text.replace("torch==", "")
    assert "Nothing was installed." in text
    assert '-m pip install --constraint requirements.txt --editable ".[test]"' in text


def test_what_jupyter_and_matplotlib_write_stays_in_the_course(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    env = house.quiet_house(house.own_environment())
    inside = [name for name, value in env.items() if value.startswith(str(house.STATE))]
    assert {"JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"} < set(inside)
    assert "MPLBACKEND" not in env
    assert env["PATH"].split(os.pathsep)[0] == str(house.venv_python().parent)


def test_a_file_is_written_whole_or_not_at_all(
    house: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "stamp.json"
    house.write_atomically(target, json.dumps({"old": 1}))

    def fail(*_: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(house.os, "replace", fail)
    with pytest.raises(OSError, match="cut off"):
        house.write_atomically(target, "new")
    assert json.loads(target.read_text(encoding="utf-8")) == {"old": 1}
