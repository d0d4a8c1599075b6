"""``course.py doctor``: each illness is planted, and must be named together with what to do."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import course
from course import Finding

GB = 10**9


@pytest.mark.parametrize(
    ("finding", "level", "words", "advice"),
    [
        (course.python_finding((3, 10, 4), 64), "fix", "Python 3.10, 64 bit: too old", "Install Python 3.11 or newer"),
        (course.python_finding((3, 11, 0), 64), "ok", "Python 3.11, 64 bit", ""),
        (course.python_finding((3, 12, 1), 32), "fix", "PyTorch exists for 64 bit only", "Install the 64 bit Python"),
        (course.python_finding((3, 15, 0), 64), "note", "newer than this course", "use Python 3.11 to 3.14"),
        (course.system_finding("Darwin", "x86_64", ""), "fix", "Intel processor", "Use another machine"),
        (course.system_finding("Darwin", "arm64", ""), "ok", "Darwin on arm64", ""),
        (course.system_finding("Windows", "AMD64", ""), "ok", "Windows on AMD64", ""),
        (course.system_finding("Linux", "x86_64", "glibc"), "ok", "Linux on x86_64", ""),
        (course.system_finding("Linux", "x86_64", ""), "fix", "does not use glibc", "Use Debian or Ubuntu"),
        (course.disk_finding(2 * GB, False, False), "fix", "Only 2.0 GB free on this disk; 3 GB", "Free some space"),
        (course.disk_finding(4 * GB, False, False), "ok", "4 GB free", ""),
        (course.disk_finding(4 * GB, False, True), "fix", "Only 4.0 GB free on this disk; 8 GB", "Free some space"),
        (course.disk_finding(1 * GB, True, True), "ok", "1 GB free", ""),
        (course.disk_finding(GB // 5, True, False), "fix", "Only 0.2 GB free on this disk; 0.3 GB", "Free some space"),
        (course.memory_finding(2 * GB), "note", "2.0 GB of memory is little", "Close other programs"),
        (course.memory_finding(8 * GB), "ok", "Memory: 8 GB", ""),
        (course.memory_finding(None), "ok", "Memory: unknown", ""),
        (course.processor_finding(2, False), "ok", "2 processor cores, no NVIDIA GPU. That is fine", ""),
        (course.processor_finding(1, False), "ok", "1 processor core, no NVIDIA GPU. That is fine", ""),
        (course.processor_finding(8, True), "ok", "COURSE_SCALE=gpu", ""),
        (course.venv_finding(False, False), "fix", "ensurepip is missing", "sudo apt install python3."),
        (course.venv_finding(False, True), "ok", "is made", ""),
        (course.venv_finding(True, False), "ok", "can make virtual environments", ""),
        (course.network_finding(True, False, None), "ok", "pip reaches", ""),
        (course.network_finding(False, False, None), "fix", "the course is not installed yet", "set COURSE_WHEELS"),
        (course.network_finding(False, False, None), "fix", "does not reach", "set HTTPS_PROXY"),
        (course.network_finding(False, True, None), "note", "is installed and does not need it", ""),
        (course.network_finding(False, False, Path("/w")), "note", "COURSE_WHEELS names /w instead", ""),
        (course.network_finding(None, False, None), "note", "no pip to test the network with", ""),
        (course.install_finding("none", []), "note", "Nothing is installed yet", "python course.py lab"),
        (course.install_finding("unfinished", []), "note", "was cut off", "starts it afresh"),
        (course.install_finding("old", []), "note", "newer pins", "brings it up to date"),
        (course.install_finding("foreign", []), "fix", "was not made by course.py", "--use-current-env"),
        (course.install_finding("ready", []), "ok", "is complete", ""),
        (course.install_finding("ready", ["a is gone"]), "fix", "a is gone", "Delete the folder .venv and type"),
        (course.install_finding("current", ["a is gone"]), "fix", "a is gone", "Install into this environment"),
        (course.install_finding("current", []), "ok", "has every package", ""),
        (course.port_finding(8888, 8890), "note", "Port 8888 is taken", "`lab` will use 8890"),
        (course.port_finding(8888, 8888), "ok", "Port 8888 is free", ""),
        (course.git_finding(False), "note", "only to fetch newer versions", ""),
        (course.git_finding(True), "ok", "git is installed", ""),
        (course.font_finding(False), "note", "may show as boxes", "fonts-noto-cjk"),
        (course.font_finding(True), "ok", "can be shown", ""),
        (course.font_finding(None), "ok", "not checked", ""),
    ],
)
def test_each_condition_is_named_with_what_to_do(finding: Finding, level: str, words: str, advice: str) -> None:
    assert finding.level == level
    assert words in finding.what
    assert advice in finding.do
    assert finding.do or level != "fix", "whoever must put something right is told how"


def test_a_folder_that_cannot_be_written_must_be_put_right(tmp_path: Path) -> None:
    finding = course.folder_finding(tmp_path / "absent", "Linux")
    assert finding.level == "fix"
    assert "cannot write into its own folder" in finding.what
    assert "Copy the course into a folder of your own" in finding.do
    assert course.folder_finding(tmp_path, "Linux").level == "ok"
    assert list(tmp_path.iterdir()) == [], "the test file was left behind"


def test_a_long_path_is_a_note_on_windows_only(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 101)
    long.mkdir()
    assert course.folder_finding(long, "Linux").level == "ok"
    finding = course.folder_finding(long, "Windows")
    assert finding.level == "note"
    assert f"has {len(str(long))} characters" in finding.what


@pytest.fixture
def healthy(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A machine on which every probe says that all is well, whatever machine this is."""
    for name, answer in {
        "has_nvidia_gpu": False,
        "pip_reaches_index": True,
        "has_chinese_font": True,
        "total_memory": 8 * GB,
        "state_of_venv": "ready",
    }.items():
        monkeypatch.setattr(house, name, lambda answer=answer: answer)
    monkeypatch.setattr(house, "problems_of_install", lambda state: [])
    monkeypatch.setattr(house, "free_port", lambda port: port)
    monkeypatch.setattr(house.platform, "system", lambda: "Linux")
    monkeypatch.setattr(house.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(house.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(house.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(99 * GB, 0, 99 * GB))
    monkeypatch.setattr(house.shutil, "which", lambda name: f"/usr/bin/{name}")
    return house


def test_a_healthy_machine_is_told_so(healthy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert healthy.doctor(8888, use_current=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Nothing needs to be put right."
    assert {line.split()[0] for line in lines[:-2]} == {"ok"}


@pytest.mark.parametrize(
    ("probe", "answer", "code", "words"),
    [
        ("pip_reaches_index", lambda: False, 0, "is installed and does not need it"),
        ("problems_of_install", lambda state: ["numpy cannot be imported: x"], 1, "numpy cannot be imported"),
        ("state_of_venv", lambda: "foreign", 1, "not made by course.py"),
        ("state_of_venv", lambda: "none", 0, "Nothing is installed yet"),
        ("free_port", lambda port: port + 1, 0, "Port 8888 is taken"),
        ("total_memory", lambda: 1 * GB, 0, "1.0 GB of memory is little"),
        ("has_chinese_font", lambda: False, 0, "boxes"),
        ("has_nvidia_gpu", lambda: True, 0, "an NVIDIA GPU"),
    ],
)
def test_only_what_must_be_put_right_makes_the_doctor_fail(
    healthy: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    probe: str,
    answer: object,
    code: int,
    words: str,
) -> None:
    monkeypatch.setattr(healthy, probe, answer)
    assert healthy.doctor(8888, use_current=False) == code
    out = capsys.readouterr().out
    assert words in out
    assert ("1 to put right, marked FIX." in out) == bool(code)
    assert ("  FIX   " in out) == bool(code)


def test_the_probes_reach_the_findings(healthy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network and nothing installed, no disk: the conditions that stop an installation, through the whole doctor."""
    monkeypatch.setattr(healthy, "state_of_venv", lambda: "none")
    monkeypatch.setattr(healthy, "pip_reaches_index", lambda: False)
    assert healthy.doctor(8888, use_current=False) == 1
    monkeypatch.setattr(healthy, "pip_reaches_index", lambda: True)
    assert healthy.doctor(8888, use_current=False) == 0
    monkeypatch.setattr(healthy.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(GB, 0, GB))
    assert healthy.doctor(8888, use_current=False) == 1


def test_the_doctor_works_with_nothing_installed_and_a_silent_network(house: ModuleType) -> None:
    """The real command in a bare copy, its index a server that never says a word, its first port taken."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "course.py", "doctor", "--port", str(port)]
        done = subprocess.run(command, cwd=house.ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert "  FIX   pip does not reach its package index within a few seconds" in done.stdout
    assert f" note   Port {port} is taken" in done.stdout
    assert " note   Nothing is installed yet." in done.stdout
    assert {path.name for path in house.ROOT.iterdir()} == {"course.py", "pyproject.toml", "requirements.txt"}


def test_a_broken_installation_is_seen_by_importing_every_package(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real question, put to the Python running now: one package is absent, one has another version than its pin."""
    packages = ["numpy>=2.0", "no-such-package>=1", "tqdm>=4"]
    monkeypatch.setattr(house, "venv_python", lambda: Path(sys.executable))
    monkeypatch.setattr(house, "dependencies", lambda extras: packages)
    real = house.pins()
    monkeypatch.setattr(house, "pins", lambda: real | {"tqdm": "1.2.3"})
    absent, other = (line for line in house.problems_of_install("ready") if "course-lib" not in line)
    assert absent.startswith("no-such-package cannot be imported: ModuleNotFoundError")
    assert other.startswith("tqdm 4.")
    assert other.endswith("is installed; the course was tested with 1.2.3")
    monkeypatch.setattr(house, "venv_python", lambda: Path("/no/such/python"))
    assert house.problems_of_install("ready") == ["The Python in .venv does not run."]


def test_the_state_of_the_environment_is_told_apart(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.state_of_venv() == "none"
    house.VENV.mkdir()
    assert house.state_of_venv() == "foreign"
    house.unfinished_file().write_text("", encoding="utf-8")
    assert house.state_of_venv() == "unfinished"
    house.unfinished_file().unlink()
    house.stamp_file().write_text("{}", encoding="utf-8")
    assert house.state_of_venv() == "unfinished"  # a stamp, and no Python
    monkeypatch.setattr(house, "python_of_venv", lambda: "3.11.7")
    assert house.state_of_venv() == "old"
    house.stamp_file().write_text(f'{{"key": "{house.install_key()}", "extras": []}}', encoding="utf-8")
    assert house.state_of_venv() == "ready"


def test_memory_and_fonts_are_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    memory = course.total_memory()
    if memory is not None:
        assert abs(memory - psutil.virtual_memory().total) < 0.02 * memory  # the two round to pages differently
    for printed, expected in (("Noto Sans CJK SC\n", True), ("", False)):
        monkeypatch.setattr(course, "output_of", lambda *_, printed=printed, **__: printed)
        monkeypatch.setattr(course.shutil, "which", lambda name: "/usr/bin/fc-list")
        monkeypatch.setattr(course.platform, "system", lambda: "Linux")
        assert course.has_chinese_font() is expected
    monkeypatch.setattr(course.platform, "system", lambda: "Windows")
    assert course.has_chinese_font() is None
