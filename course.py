"""One command for the whole course: ``python course.py lab | test | notebooks | doctor``.

Each command does its own set-up. The first call makes the folder ``.venv``, installs the exact versions that
``requirements.txt`` names, and the course itself; later calls find a stamp in that folder and start at once.

This file needs nothing but Python's standard library. It must also be *readable* for a Python that is too old to run
it (3.6 and newer), so that such a Python prints a sentence and not a syntax error: no ``:=``, no ``match``, no ``/`` in
an argument list, no import before the check.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (whoever starts this file may well have an older one)
    import os as _os
    import subprocess as _subprocess

    def _runs(name):
        with open(_os.devnull, "w") as nowhere:
            try:
                return _subprocess.call([name, "-c", ""], stdout=nowhere, stderr=nowhere) == 0
            except OSError:
                return False

    _newer = [name for name in ("python3.11", "python3.12", "python3.13", "python3.14") if _runs(name)]
    sys.exit(
        "This course needs Python 3.11 or newer. The one that was started is Python {}.{} ({}).\n{}".format(
            sys.version_info[0],
            sys.version_info[1],
            sys.executable,
            f"A newer one is on this machine. Type:  {_newer[0]} course.py lab"
            if _newer
            else "Install a newer one from https://www.python.org/downloads/ and start course.py with that.",
        )
    )

import argparse
import contextlib
import hashlib
import http.client
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import tomllib
import urllib.request
import xml.etree.ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
# Everything that running the course writes (settings, history, logs) goes here; git ignores it.
STATE = Path(os.environ.get("COURSE_STATE") or ROOT / ".course").resolve()
PINS = ROOT / "requirements.txt"
PROJECT = ROOT / "pyproject.toml"
FIRST_CHAPTER = "notebooks/00_start_here.ipynb"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of builds without CUDA

RUNTIME: tuple[str, ...] = ()  # the extras that `lab` needs: none
TESTING: tuple[str, ...] = ("test",)  # ... and `test` and `notebooks`


class CourseError(Exception):
    """Something the person at the keyboard can put right. The text says what, and how."""


def say(text: str = "") -> None:
    print(text, flush=True)


# ---- set-up: the folder .venv --------------------------------------------------------------------------------------


def venv_python() -> Path:
    """The Python inside ``.venv``, whether it exists or not."""
    return VENV / "Scripts" / "python.exe" if os.name == "nt" else VENV / "bin" / "python"


def stamp_file() -> Path:
    """Written last, so its presence means that the installation is complete."""
    return VENV / "course-complete.json"


def unfinished_file() -> Path:
    """Written first and removed at the end, so its presence means that an installation was cut off."""
    return VENV / "course-unfinished"


def dependencies(extras: Sequence[str]) -> list[str]:
    """The requirements of the course as ``pyproject.toml`` states them, such as ``numpy>=2.0``."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]


def pins() -> dict[str, str]:
    """Name (lower case, with hyphens) to exact version. The last line counts where a package has two."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", PINS.read_text(encoding="utf-8"), flags=re.MULTILINE))


def normalised(requirement: str) -> str:
    """``Jupyter_Lab>=4`` to ``jupyter-lab``: the name alone, in the one spelling that pip compares."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def python_of_venv() -> str:
    """The version ``.venv`` was made with, read from its ``pyvenv.cfg``; empty if that Python is gone."""
    try:
        text = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, flags=re.MULTILINE))
    alive = venv_python().exists() and Path(values.get("home", "")).is_dir()
    return str(values.get("version") or values.get("version_info")) if alive else ""


def install_key() -> str:
    """Changes exactly when a reinstall is due: other dependencies, other pins, another Python, or a moved folder."""
    toml = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    parts = [json.dumps([toml["project"], toml["build-system"]], sort_keys=True), PINS.read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join([*parts, python_of_venv(), str(ROOT)]).encode()).hexdigest()


def is_ready(extras: Sequence[str]) -> bool:
    """Whether ``.venv`` holds everything that ``extras`` ask for, in today's versions."""
    try:
        stamp = json.loads(stamp_file().read_text(encoding="utf-8"))
        return bool(python_of_venv()) and stamp["key"] == install_key() and set(extras) <= set(stamp["extras"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextlib.contextmanager
def only_one_installer() -> Iterator[None]:
    """Lets a second ``course.py`` wait until the first has installed. The lock ends when its process ends."""
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "install.lock", "a+b") as handle:
        told = False
        while True:
            try:
                if sys.platform == "win32":
                    import msvcrt

                    msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
                else:
                    import fcntl

                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if not told:
                    say("Another course.py is installing into this folder. Waiting until it is done ...")
                told = True
                time.sleep(0.5)
            except OSError:  # a network folder without locks: go on without one
                break
        yield


def make_ready(extras: Sequence[str]) -> Path:
    """Installs what is missing, if anything is, and returns the Python to run the course with."""
    if is_ready(extras):
        return venv_python()
    with only_one_installer():
        if not is_ready(extras):  # the one we waited for may have done it
            install(extras)
    return venv_python()


def install(extras: Sequence[str]) -> None:
    """Makes ``.venv`` or brings it up to date; an installation that was cut off is thrown away and done again."""
    started = time.monotonic()
    if VENV.exists() and not stamp_file().exists() and not unfinished_file().exists():
        raise CourseError(
            f"The folder {VENV} was not made by course.py, so it is left alone.\n"
            "Rename or delete it, or activate it and add --use-current-env to the command."
        )
    if unfinished_file().exists() or not python_of_venv():
        if VENV.exists():
            say("The installation in .venv was cut off, or its Python is gone: starting it afresh.")
            shutil.rmtree(VENV)
        VENV.mkdir()
    say("Setting up the course in .venv. This happens once and takes a few minutes.")
    unfinished_file().write_text("While this file is here, the installation is not complete.\n", encoding="utf-8")
    stamp_file().unlink(missing_ok=True)
    if not python_of_venv():
        # Started by the very Python in .venv (an activated one)? Then make the new one with the Python behind it.
        base = getattr(sys, "_base_executable", None) or sys.executable
        if run([base, "-m", "venv", str(VENV)], env=pip_environment()) != 0:
            raise CourseError(
                "Python could not make a virtual environment.\n"
                f"On Debian and Ubuntu install the missing part:  sudo apt install python3.{sys.version_info[1]}-venv"
            )
    install_packages(extras)
    write_atomically(stamp_file(), json.dumps({"key": install_key(), "extras": sorted(extras)}) + "\n")
    unfinished_file().unlink()
    say(f"Set up in {time.monotonic() - started:.0f} s.\n")


def install_packages(extras: Sequence[str]) -> None:
    """Three steps: the builder, PyTorch (from where its CPU build is, if wanted), then everything at its pin."""
    version = pins()
    folder = wheels_folder()
    # With a folder of wheels, first try without any index: nothing is slower than an index that does not answer.
    routes = [["--no-index", "--find-links", str(folder)], ["--find-links", str(folder)]] if folder else [[]]
    course = ".[{}]".format(",".join(extras)) if extras else "."

    def pip_install(routes: list[list[str]], *what: str) -> bool:
        return any(run([*pip_command(), "install", *route, *what], env=pip_environment()) == 0 for route in routes)

    # The course is built with this setuptools and not in isolation, so that a folder of wheels is enough.
    done = pip_install(routes, "setuptools=={}".format(version["setuptools"]))
    if done and not list(VENV.glob(f"**/site-packages/torch-{version['torch']}[+.-]*")):
        source = torch_source(version["torch"], folder)
        say(source.words)
        if source.route is not None and not pip_install([source.route], "--no-deps", f"torch=={version['torch']}"):
            say("That did not work. Going on with the build that pip chooses by itself.")
    done = done and pip_install(routes, "--constraint", PINS.name, "--no-build-isolation", "--editable", course)
    if not done:
        raise CourseError(
            "The packages could not be installed; pip says above why. Nothing else on this machine was changed.\n"
            "Type  python course.py doctor  to see what is wrong, then give the same command again."
        )


def pip_command() -> list[str]:
    return [str(venv_python()), "-m", "pip", "--no-input", "--disable-pip-version-check"]


def pip_environment() -> dict[str, str]:
    """pip gives up on a silent server in about a minute, unless the person has set other limits."""
    env = own_environment()
    env.setdefault("PIP_DEFAULT_TIMEOUT", "20")
    env.setdefault("PIP_RETRIES", "2")
    env["PIP_USER"] = "0"  # would put the packages outside .venv
    return env


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Runs a command in the course's folder and returns its exit code; what it prints is seen at once."""
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode


def output_of(command: Sequence[str], env: Mapping[str, str], seconds: float) -> str:
    """What another program prints; empty if it fails, cannot be started, or takes longer than ``seconds``."""
    try:
        answer = subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode(errors="replace")


# ---- set-up: where PyTorch comes from ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TorchSource:
    """``route``: arguments for pip that lead to a CPU build, or None to let pip choose with everything else."""

    route: list[str] | None
    words: str


def wheels_folder() -> Path | None:
    """The folder of wheels that an instructor prepared (COURSE_WHEELS), if one is named."""
    name = os.environ.get("COURSE_WHEELS", "")
    if not name:
        return None
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        raise CourseError(f"COURSE_WHEELS names {name}, and there is no such folder. Correct it or unset it.")
    return folder


def torch_source(version: str, folder: Path | None) -> TorchSource:
    """On Linux, pip's own choice is a build with 3 GB of CUDA libraries. Without an NVIDIA GPU, look for a small one.

    First among the wheels pip can find without an index (its ``find-links`` setting, ``folder``), then on PyTorch's
    CPU index if that answers within three seconds.
    """
    if not sys.platform.startswith("linux"):
        return TorchSource(None, "PyTorch: the usual build, which is small on this system.")
    if has_nvidia_gpu():
        return TorchSource(None, "PyTorch: the build for NVIDIA GPUs, as this machine has one.")
    local = ["--no-index", *(["--find-links", str(folder)] if folder else [])]
    if "+cpu" in (version_that_pip_finds(version, local) or ""):
        return TorchSource(local, "PyTorch: the CPU build, from a wheel on this machine.")
    if answers(f"{CPU_INDEX}/torch/", seconds=3):
        return TorchSource(["--index-url", CPU_INDEX], "PyTorch: the CPU build, from PyTorch's own index.")
    return TorchSource(None, "PyTorch: no CPU build within reach, so the usual one, which is large on Linux.")


def version_that_pip_finds(version: str, route: list[str]) -> str | None:
    """The full version (such as ``2.13.0+cpu``) that pip would install by this route; nothing is installed."""
    question = ["install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps", "--report", "-", *route]
    command = [*pip_command(), "--timeout", "3", "--retries", "0", *question, f"torch=={version}"]
    try:
        return json.loads(output_of(command, pip_environment(), seconds=30))["install"][0]["metadata"]["version"]
    except (ValueError, LookupError):
        return None


def has_nvidia_gpu() -> bool:
    """Asks the driver's folder, then its tool: the first is at once, the second also works inside WSL."""
    with contextlib.suppress(OSError):
        if any(Path("/proc/driver/nvidia/gpus").iterdir()):
            return True
    tool = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    return tool is not None and "GPU 0" in output_of([tool, "-L"], dict(os.environ), seconds=10)


def answers(address: str, seconds: float) -> bool:
    """Whether a web address answers in time. Never takes longer: looking up a name may hang, so a thread does it."""
    good = threading.Event()

    def ask() -> None:
        certificates = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
        with contextlib.suppress(Exception):  # any failure means the same: not within reach
            context = ssl.create_default_context(cafile=certificates or None)
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds, context=context) as reply:
                if reply.status == 200:
                    good.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return good.is_set()


# ---- set-up: environments ------------------------------------------------------------------------------------------


def own_environment() -> dict[str, str]:
    """The environment variables for a child inside ``.venv``: nothing of the person's other Pythons leaks in."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    env["PYTHONNOUSERSITE"] = "1"
    env["VIRTUAL_ENV"] = str(VENV)
    env["PATH"] = str(venv_python().parent) + os.pathsep + env.get("PATH", "")
    return env


def quiet_house(env: dict[str, str]) -> dict[str, str]:
    """Keeps what Jupyter, IPython and matplotlib write in one folder: the person's own settings stay untouched."""
    jupyter = STATE / "jupyter"
    env.pop("MPLBACKEND", None)  # a fixed backend would hide the figures from the notebook
    return env | {
        "PYTHONUTF8": "1",
        "JUPYTER_CONFIG_DIR": str(jupyter / "config"),
        "JUPYTER_DATA_DIR": str(jupyter / "data"),
        "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(jupyter / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(jupyter / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one of the same name in the home folder
        "IPYTHONDIR": str(STATE / "ipython"),
        "MPLCONFIGDIR": str(STATE / "matplotlib"),
    }


@contextlib.contextmanager
def same_everywhere(env: dict[str, str]) -> Iterator[dict[str, str]]:
    """For stored and compared outputs: always the laptop's size, one compute thread (the tests run side by side), and
    an empty folder for what exercises keep, so that nothing depends on the progress of the person at the keyboard.
    """
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as state:
        yield env | {"COURSE_SCALE": "laptop", "OMP_NUM_THREADS": "1", "COURSE_STATE": state}


def python_and_environment(extras: Sequence[str], use_current: bool) -> tuple[str, dict[str, str]]:
    """The Python to run the course with, and its environment variables; installs first, if it may."""
    if not use_current:
        return str(make_ready(extras)), quiet_house(own_environment())
    missing = what_is_missing(extras)
    if missing:
        target = ".[{}]".format(",".join(extras)) if extras else "."
        raise CourseError(
            "The current environment ({}) lacks something:\n  {}\nNothing was installed. To put it right, type:\n"
            '  "{}" -m pip install --constraint {} --editable "{}"'.format(
                sys.prefix, "\n  ".join(missing), sys.executable, PINS.name, target
            )
        )
    return sys.executable, quiet_house(dict(os.environ))


def what_is_missing(extras: Sequence[str]) -> list[str]:
    """One line for each dependency that the Python running now lacks or has in too old a version."""
    lines = []
    for requirement in dependencies(extras):
        name, _, least = requirement.partition(">=")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed (the course was tested with {pins()[normalised(name)]})")
            continue
        if release(found) < release(least):
            lines.append(f"{name} {found} is too old: {least} or newer is needed")
    if importlib.util.find_spec("course_lib") is None or "course-lib" not in installed_names():
        lines.append("course_lib, the course itself, is not installed")
    return lines


def installed_names() -> set[str]:
    return {normalised(found.metadata["Name"] or "") for found in importlib.metadata.distributions()}


def release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` to (2, 13, 0), which compares as versions do."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].strip(".").split(".") if part)  # type: ignore[index]


# ---- lab -----------------------------------------------------------------------------------------------------------

# Defaults, not locks: whatever the learner changes in JupyterLab's settings wins.
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},  # light or dark, as the system is
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # links and searches reach every cell
}

# JupyterLab cuts printed text and folded code anywhere, inside of words too, and continuation lines lose their indents.
LAB_STYLE = """\
.jp-RenderedText pre { word-break: normal !important; overflow-wrap: anywhere; }
.jp-OutputArea .jp-RenderedMarkdown pre, .jp-OutputArea .jp-RenderedMarkdown pre code {
  white-space: pre !important; word-break: normal !important; overflow-x: auto;
}
"""

# JupyterLab shows no SVG of a notebook that nobody trusts; those of the course are as much ours as its code.
TRUST_PROGRAM = "from nbformat.sign import TrustNotebookApp; TrustNotebookApp.launch_instance()"

# Importing rfc3987_syntax takes 2 of the 3.6 seconds until JupyterLab answers. It only lets jsonschema check one more
# kind of web address, and jsonschema does without where it is absent; None says that it is.
LAB_PROGRAM = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()"


def lab(port: int, open_browser: bool, use_current: bool) -> int:
    """Opens JupyterLab on the first chapter; returns when it ends."""
    python, env = python_and_environment(RUNTIME, use_current)
    free = free_port(port)
    if free != port:
        say(f"Port {port} is taken by another program; using {free}.")
    prepare_lab()
    chapters = sorted(map(str, (ROOT / "notebooks").glob("*.ipynb")))
    subprocess.run([python, "-c", TRUST_PROGRAM, *chapters], cwd=ROOT, env=env, capture_output=True, check=False)
    path = f"/lab/tree/{FIRST_CHAPTER}" if (ROOT / FIRST_CHAPTER).exists() else "/lab"
    token = secrets.token_hex(24)
    env["JUPYTER_TOKEN"] = token  # not on the command line, where every user of the machine could read it
    command = [
        *(python, "-c", LAB_PROGRAM, "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={free}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url={path}"),
        f"--ServerApp.open_browser={open_browser}",
        "--LabApp.custom_css=True",
        "--LanguageServerManager.autodetect=False",  # it would start npm to look for servers that nobody here uses
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--ServerApp.allow_root=True")  # inside a container there is nobody else
    log = STATE / "jupyter" / "lab.log"
    started = time.monotonic()
    with open(log, "wb") as output:
        # In a session of its own, so that Ctrl+C reaches us alone and we can end JupyterLab without its question.
        own = os.name != "nt"
        server = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=own
        )
    with ended_with_us(server):
        while not answers_locally(free):
            if server.poll() is not None or time.monotonic() - started > 60:
                end = "\n  ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
                raise CourseError(
                    f"JupyterLab did not start. The end of {log}:\n  {end}\nType  python course.py doctor"
                )
            time.sleep(0.05)
        say(f"JupyterLab answers after {time.monotonic() - started:.1f} s. The course is here:\n")
        say(f"    http://127.0.0.1:{free}{path}?token={token}\n")
        say("Leave this window open while you work. Ctrl+C in it ends JupyterLab.")
        return server.wait()
    return 0


def free_port(wanted: int) -> int:
    """The first port from ``wanted`` on that no other program listens to on this machine."""
    for port in range(wanted, min(wanted + 50, 65536)):
        with socket.socket() as probe:
            if sys.platform == "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise CourseError(f"No free port from {wanted} to {wanted + 49}. Name another one with --port.")


def prepare_lab() -> None:
    """Writes the defaults for JupyterLab, and for its first start a window with the table of contents open."""
    config = STATE / "jupyter" / "config" / "labconfig"
    workspaces = STATE / "jupyter" / "workspaces"
    for folder in (config, workspaces, STATE / "jupyter" / "runtime", STATE / "jupyter" / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(config / "default_setting_overrides.json", json.dumps(LAB_SETTINGS, indent=1))
    style = STATE / "jupyter" / "config" / "custom" / "custom.css"
    style.parent.mkdir(exist_ok=True)
    write_atomically(style, LAB_STYLE)
    # JupyterLab names the file of a workspace after it, with the first four digits of the name's SHA-256.
    window = workspaces / "default-{}.jupyterlab-workspace".format(hashlib.sha256(b"default").hexdigest()[:4])
    if not window.exists():
        left = {"collapsed": False, "visible": True, "current": "@jupyterlab/toc:plugin"}
        layout = {"left": left, "relativeSizes": [0.22, 0.78, 0]}
        write_atomically(window, json.dumps({"data": {"layout-restorer:data": layout}, "metadata": {"id": "default"}}))


def answers_locally(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot know this machine
    not_yet = contextlib.suppress(OSError, http.client.HTTPException)
    with not_yet, direct.open(f"http://127.0.0.1:{port}/api", timeout=5) as reply:
        return reply.status == 200
    return False


@contextlib.contextmanager
def ended_with_us(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """However we end (Ctrl+C, a closed window, kill, an error), JupyterLab and its kernels end too."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    caught = [signal.SIGINT, signal.SIGTERM]
    if (
        sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    ):  # nohup: meant to outlive the window
        caught.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield
    except KeyboardInterrupt:
        say("\nJupyterLab is ending; what is saved stays saved.")
    finally:
        for number in caught:  # a second, impatient Ctrl+C must not cut the ending short
            signal.signal(number, signal.SIG_IGN)
        if server.poll() is None:
            if os.name != "nt":  # Windows sends Ctrl+C to both of us, so there it is ending already
                server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


# ---- notebooks and test --------------------------------------------------------------------------------------------


def notebooks(paths: Sequence[str], use_current: bool) -> int:
    """Makes the exercises from their solutions, then re-executes and stores the notebooks, all or those given."""
    python, env = python_and_environment(TESTING, use_current)
    chosen = [str(Path(path).resolve()) for path in paths] or [str(path) for path in stored_notebooks()]
    if not chosen:
        raise CourseError("There are no notebooks in notebooks/ or exercises/.")
    with same_everywhere(env) as env:
        env["TQDM_DISABLE"] = "1"  # a stored progress bar would stay at 0% for ever
        return run([python, "-m", "course_lib.workshop.exercises.release"], env=env) or run(
            [python, "-m", "course_lib.workshop.notebooks", *chosen], env=env
        )


def stored_notebooks() -> list[Path]:
    """Every notebook whose outputs are stored and compared: the chapters, the exercises and their solutions."""
    folders = ("notebooks", "exercises", "exercises/solutions")
    return [path for folder in folders for path in sorted((ROOT / folder).glob("*.ipynb"))]


@dataclass(frozen=True)
class Step:
    """One step of ``test``: what it is called, its command, and the report that counts its tests, if it has one."""

    name: str
    command: list[str]
    report: Path | None = None


def steps_of_test(python: str, extra_arguments: Sequence[str]) -> list[Step]:
    """The steps in order. With arguments for pytest, the person is looking for something: then pytest alone."""
    reports = STATE / "reports"
    # One process for each of two cores, and one file in one process: the cells of a notebook belong together.
    parallel = ["-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadfile"]
    pytest = [python, "-m", "pytest", *parallel, f"--junitxml={reports / 'tests.xml'}"]
    if extra_arguments:
        return [Step("pytest", [*pytest, *extra_arguments], reports / "tests.xml")]
    nbval = [python, "-m", "pytest", *parallel, f"--junitxml={reports / 'notebooks.xml'}", "--nbval"]
    nbval += ["--nbval-sanitize-with", "tests/notebooks/sanitize.cfg", "--nbval-cell-timeout", "300"]
    nbval += [path.relative_to(ROOT).as_posix() for path in stored_notebooks()]
    return [
        Step("ruff check (library, tests and notebooks)", [python, "-m", "ruff", "check", "."]),
        Step("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        Step("mypy", [python, "-m", "mypy"]),
        Step("pytest", pytest, reports / "tests.xml"),
        Step("nbval (every notebook runs and gives its stored outputs)", nbval, reports / "notebooks.xml"),
    ]


def test(extra_arguments: Sequence[str], use_current: bool) -> int:
    """The README's test command: every step, or pytest alone with its arguments."""
    python, env = python_and_environment(TESTING, use_current)
    (STATE / "reports").mkdir(parents=True, exist_ok=True)
    with same_everywhere(env) as env:
        return run_steps(steps_of_test(python, extra_arguments), env)


def run_steps(steps: Sequence[Step], env: dict[str, str]) -> int:
    """Runs every step to the end, says what each took, and returns 1 if any failed."""
    lines, passed, failed, skipped, begun = [], 0, 0, 0, time.monotonic()
    for number, step in enumerate(steps, 1):
        say(f"\n==== {number}/{len(steps)} {step.name}")
        if step.report:
            step.report.unlink(missing_ok=True)
        started = time.monotonic()
        if step.name.startswith("nbval") and not stored_notebooks():
            say("There are no notebooks in notebooks/ or exercises/: a course without any is broken.")
            code = 1
        else:
            code = run(step.command, env=env)
        good, bad, left_out = count(step, code)
        passed, failed, skipped = passed + good, failed + bad, skipped + left_out
        lines.append(f"{'ok' if code == 0 else 'FAILED':>6} {time.monotonic() - started:6.1f} s  {step.name}")
    say("\n==== summary\n" + "\n".join(lines))
    say(f"{passed} passed, {failed} failed, {skipped} skipped in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


def count(step: Step, code: int) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a step. A step that failed counts at least one failure, whatever its report says."""
    good, bad, left_out = (1, 0, 0) if code == 0 else (0, 1, 0)
    if step.report and step.report.exists():
        suites = list(xml.etree.ElementTree.parse(step.report).getroot().iter("testsuite"))
        total, skips, failures = (
            sum(int(suite.get(key, 0)) for suite in suites for key in keys)
            for keys in (("tests",), ("skipped",), ("failures", "errors"))
        )
        good, bad, left_out = total - skips - failures, max(failures, bad), skips
    return good, bad, left_out


# ---- doctor --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """``level`` is "ok", "note" (nothing to do, or only if you like) or "fix" (the course will not run like this)."""

    level: str
    what: str
    do: str = ""


def python_finding(version: Sequence[int], bits: int) -> Finding:
    name = f"Python {version[0]}.{version[1]}, {bits} bit"
    if tuple(version[:2]) < (3, 11):
        return Finding("fix", f"{name}: too old.", "Install Python 3.11 or newer and start course.py with it.")
    if bits < 64:
        return Finding("fix", f"{name}: PyTorch exists for 64 bit only.", "Install the 64 bit Python and use that.")
    if tuple(version[:2]) > (3, 14):
        return Finding("note", f"{name}: newer than this course.", "If the install fails, use Python 3.11 to 3.14.")
    return Finding("ok", name)


def system_finding(system: str, machine: str, libc: str) -> Finding:
    if system == "Darwin" and machine == "x86_64":
        return Finding(
            "fix",
            "A Mac with an Intel processor: PyTorch makes no builds for it any more.",
            "Use another machine. If this Mac has an Apple chip after all, install the Python for Apple chips.",
        )
    if system == "Linux" and libc != "glibc":
        return Finding(
            "fix", "This Linux does not use glibc (Alpine?): PyTorch makes no builds for it.", "Use Debian or Ubuntu."
        )
    return Finding("ok", f"{system} on {machine}")


def folder_finding(root: Path, system: str) -> Finding:
    probe = root / f".write-test-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        what = f"The course cannot write into its own folder, {root} ({error.strerror})."
        return Finding("fix", what, "Copy the course into a folder of your own.")
    if system == "Windows" and len(str(root)) > 100:
        return Finding(
            "note",
            f"The path of this folder has {len(str(root))} characters; Windows may refuse the long names inside .venv.",
            "If the install fails, move the course to a short path such as C:\\course.",
        )
    return Finding("ok", f"The course is in {root}")


def disk_finding(free: int, installed: bool, large: bool) -> Finding:
    """``free`` in bytes. Needed: 1.5 GB for the install (8 GB with CUDA), afterwards room for a few files."""
    need = 0.3 if installed else 8 if large else 3
    if free < need * 1e9:
        return Finding(
            "fix",
            f"Only {free / 1e9:.1f} GB free on this disk; {need:g} GB are needed.",
            "Free some space, or move the course to a larger disk.",
        )
    return Finding("ok", f"{free / 1e9:.0f} GB free on this disk")


def memory_finding(total: int | None) -> Finding:
    """``total`` in bytes, or None if the system does not tell."""
    if total is not None and total < 3.5e9:
        return Finding(
            "note",
            f"{total / 1e9:.1f} GB of memory is little.",
            "Close other programs while a notebook trains, and shut down the kernels you no longer need.",
        )
    return Finding("ok", "Memory: " + ("unknown" if total is None else f"{total / 1e9:.0f} GB"))


def processor_finding(cores: int, gpu: bool) -> Finding:
    counted = f"{cores} processor core{'s' * (cores != 1)}"
    if gpu:
        return Finding("ok", f"{counted} and an NVIDIA GPU; COURSE_SCALE=gpu makes the notebooks use it.")
    slow = " With one core the training cells take about twice as long." if cores < 2 else ""
    return Finding("ok", f"{counted}, no NVIDIA GPU. That is fine: every chapter is made for a laptop.{slow}")


def venv_finding(has_venv: bool, installed: bool) -> Finding:
    if has_venv or installed:
        return Finding("ok", "Python can make virtual environments" if has_venv else "The virtual environment is made")
    return Finding(
        "fix",
        "This Python cannot make virtual environments (ensurepip is missing).",
        f"On Debian and Ubuntu:  sudo apt install python3.{sys.version_info[1]}-venv",
    )


def network_finding(reachable: bool | None, installed: bool, folder: Path | None) -> Finding:
    """``reachable`` is None where there is no pip to ask with."""
    if reachable:
        return Finding("ok", "pip reaches its package index")
    if reachable is None:
        return Finding("note", "This Python has no pip to test the network with.")
    if installed:
        return Finding("note", "pip does not reach its package index. The course is installed and does not need it.")
    if folder is not None:
        return Finding("note", f"pip does not reach its package index; COURSE_WHEELS names {folder} instead.")
    return Finding(
        "fix",
        "pip does not reach its package index within a few seconds, and the course is not installed yet.",
        "Connect to the network. Behind a proxy, set HTTPS_PROXY. In a classroom without network, set COURSE_WHEELS\n"
        "to the folder of wheels that the instructor prepared (README, for instructors).",
    )


def install_finding(state: str, problems: Sequence[str]) -> Finding:
    """``state``: "none", "unfinished", "foreign", "old" (the pins have changed since), "ready" or "current"."""
    if problems:
        afresh = "Delete the folder .venv and type  python course.py lab"
        return Finding(
            "fix",
            "The installation is broken:\n" + "\n".join(problems),
            "Install into this environment what is named here." if state == "current" else afresh,
        )
    return {
        "none": Finding("note", "Nothing is installed yet.", "Type  python course.py lab"),
        "unfinished": Finding("note", "An installation was cut off.", "python course.py lab  starts it afresh."),
        "old": Finding("note", "The course has newer pins than .venv.", "python course.py lab  brings it up to date."),
        "foreign": Finding(
            "fix", "The folder .venv was not made by course.py.", "Rename it, or activate it and use --use-current-env."
        ),
        "ready": Finding("ok", "The installation is complete and every package can be imported"),
        "current": Finding("ok", f"The current environment ({sys.prefix}) has every package"),
    }[state]


def port_finding(wanted: int, free: int) -> Finding:
    if wanted == free:
        return Finding("ok", f"Port {wanted} is free")
    return Finding(
        "note",
        f"Port {wanted} is taken, perhaps by a JupyterLab that still runs.",
        f"Nothing: `lab` will use {free}. To choose another, add --port to the command.",
    )


def git_finding(found: bool) -> Finding:
    if found:
        return Finding("ok", "git is installed")
    return Finding("note", "git is not installed. It is needed only to fetch newer versions of the course.")


def font_finding(has_chinese: bool | None) -> Finding:
    if has_chinese is False:
        return Finding(
            "note",
            "No font with Chinese characters was found; Chinese sentences may show as boxes.",
            "On Debian and Ubuntu:  sudo apt install fonts-noto-cjk",
        )
    return Finding("ok", "Chinese characters can be shown" if has_chinese else "Fonts: not checked on this system")


def doctor(port: int, use_current: bool) -> int:
    """Looks at everything the course needs, says what it finds, and returns 1 if something must be put right."""
    folder, state = wheels_folder(), "current" if use_current else state_of_venv()
    installed = state in ("ready", "current")
    gpu = has_nvidia_gpu()
    findings = [
        python_finding(sys.version_info[:3], struct.calcsize("P") * 8),
        system_finding(platform.system(), platform.machine(), platform.libc_ver()[0]),
        folder_finding(ROOT, platform.system()),
        disk_finding(shutil.disk_usage(ROOT).free, installed, gpu and platform.system() == "Linux"),
        memory_finding(total_memory()),
        processor_finding(os.cpu_count() or 1, gpu),
        venv_finding(importlib.util.find_spec("ensurepip") is not None, installed),
        network_finding(pip_reaches_index(), installed, folder),
        install_finding(state, problems_of_install(state)),
        port_finding(port, free_port(port)),
        git_finding(shutil.which("git") is not None),
        font_finding(has_chinese_font()),
    ]
    for finding in findings:
        indent = "\n" + " " * 8
        level = "FIX" if finding.level == "fix" else finding.level
        say(f"{level:>5}   " + finding.what.replace("\n", indent))
        if finding.do:
            say(" " * 8 + "-> " + finding.do.replace("\n", indent + "   "))
    wrong = sum(finding.level == "fix" for finding in findings)
    say(f"\n{wrong} to put right, marked FIX." if wrong else "\nNothing needs to be put right.")
    return 1 if wrong else 0


def state_of_venv() -> str:
    """One of the states that ``install_finding`` knows."""
    if not VENV.exists():
        return "none"
    if unfinished_file().exists() or (stamp_file().exists() and not python_of_venv()):
        return "unfinished"
    if not stamp_file().exists():
        return "foreign"
    return "ready" if is_ready(RUNTIME) else "old"


def problems_of_install(state: str) -> list[str]:
    """Imports every package of the course inside the environment, and compares versions with the pins."""
    if state == "current":
        return what_is_missing(RUNTIME)
    if state != "ready":
        return []
    names = [normalised(line) for line in dependencies(RUNTIME)]
    question = (
        "import importlib, importlib.metadata, json, sys\n"
        "answer = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name.replace('-', '_'))\n"
        "        answer[name] = importlib.metadata.version(name)\n"
        "    except Exception as error:\n"
        "        answer[name] = f'!{type(error).__name__}: {error}'\n"
        "print(json.dumps(answer))\n"
    )
    command = [str(venv_python()), "-c", question, *names, "course-lib"]
    answer = output_of(command, quiet_house(own_environment()), seconds=120)
    if not answer:
        return ["The Python in .venv does not run."]
    problems = []
    for name, found in json.loads(answer).items():
        if found.startswith("!"):
            problems.append(f"{name} cannot be imported: {found[1:]}")
        elif name in pins() and release(found) != release(pins()[name]):
            problems.append(f"{name} {found} is installed; the course was tested with {pins()[name]}")
    return problems


def pip_reaches_index() -> bool | None:
    """Asks pip itself for one small package, so that proxies, certificates and settings count as they will later."""
    has_own = stamp_file().exists() and python_of_venv()
    if not has_own and importlib.util.find_spec("pip") is None:
        return None
    python = str(venv_python()) if has_own else sys.executable
    command = [python, "-m", "pip", "--no-input", "--timeout", "4", "--retries", "0", "index", "versions", "nbval"]
    return "nbval" in output_of(command, pip_environment(), seconds=12)


def total_memory() -> int | None:
    """Bytes of memory, or None where the system does not tell."""
    if sys.platform == "win32":
        import ctypes

        # MEMORYSTATUSEX: two 32-bit numbers (its own size of 64 bytes, the load), then seven of 64 bits, total first.
        status = (ctypes.c_uint64 * 8)(64)
        return int(status[1]) if ctypes.windll.kernel32.GlobalMemoryStatusEx(status) else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def has_chinese_font() -> bool | None:
    """None where nothing needs to be asked: Windows and macOS come with such fonts."""
    tool = shutil.which("fc-list")
    if platform.system() != "Linux" or tool is None:
        return None
    return bool(output_of([tool, ":lang=zh", "family"], dict(os.environ), seconds=10).strip())


# ---- the command line ----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python course.py", description="Open, test, re-run or check the course.")
    commands = top.add_subparsers(dest="command", required=True, metavar="lab | test | notebooks | doctor")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--use-current-env",
        action="store_true",
        help="use the environment that is active (conda, venv) as it is; nothing is installed",
    )
    with_port = argparse.ArgumentParser(add_help=False)
    with_port.add_argument("--port", type=port_number, default=8888, help="the first port to try (8888)")
    one = commands.add_parser("lab", parents=[shared, with_port], help="open the course in JupyterLab")
    one.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    one = commands.add_parser("test", parents=[shared], help="prove that everything works")
    one.epilog = "Arguments after -- go to pytest, which then runs alone:  python course.py test -- -k tokenizer"
    one = commands.add_parser("notebooks", parents=[shared], help="re-run the notebooks and store their outputs")
    one.add_argument("paths", nargs="*", help="only these notebooks")
    commands.add_parser("doctor", parents=[shared, with_port], help="say what is wrong with this machine")
    return top


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path may hold letters that the console cannot show
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    options = parser().parse_args(words[:cut])
    if words[cut:] and options.command != "test":
        parser().error("only `test` takes arguments after --")
    commands: dict[str, Callable[[], int]] = {
        "lab": lambda: lab(options.port, not options.no_browser, options.use_current_env),
        "test": lambda: test(words[cut + 1 :], options.use_current_env),
        "notebooks": lambda: notebooks(options.paths, options.use_current_env),
        "doctor": lambda: doctor(options.port, options.use_current_env),
    }
    try:
        return commands[options.command]()
    except CourseError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder without the right to write, a file that Windows keeps locked
        print(f"\n{error}\nType  python course.py doctor  to see what is wrong with this machine.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
