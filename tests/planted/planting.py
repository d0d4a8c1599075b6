"""Is anybody awake? Plants one bug after the other in a copy of the repository, and expects the tests to go red.

    python -m tests.planted                        every bug (minutes)
    python -m tests.planted --list                 what there is
    python -m tests.planted -k download            only bugs whose name or file contains this word
    python -m tests.planted -k layers.py -k cache  only bugs with one of these words; the name of a file here is one

The working tree is never touched. A bug that no test notices survives, and the exit code is 1; so it is where the tests
are red without any bug, where a planted bug only breaks the collection of tests, and where the text that a bug replaces
no longer stands in its file exactly once (then the bug is stale: write it anew).

To add a bug: a wrong line that could pass for right (a forgotten case, a wrong bound, a swapped order), and the
quickest test file or notebook that ought to notice it. The bugs stand beside this file, in the lists ``BUGS`` of one
file for each folder of the library or for a theme; a new file needs no other entry.
"""

import argparse
import concurrent.futures
import importlib
import os
import pkgutil
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2  # copies of the repository, and tests that run at once
SECONDS = 600  # for one run of the tests
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")


@dataclass(frozen=True)
class Bug:
    """In ``file``, ``old`` (found exactly once) becomes ``new``; ``tests`` (.py or .ipynb) should go red."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    bug: Bug
    caught: bool
    verdict: str  # the first test that failed, or why nothing was caught
    seconds: float


def gathered(package: str = "tests.planted") -> dict[str, Sequence[Bug]]:
    """The bugs of each file of a package, by the file's name."""
    names = [found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    files = sorted(set(names) - {"__main__", "planting"})
    return {f"{name}.py": importlib.import_module(f"{package}.{name}").BUGS for name in files}


def stale(bug: Bug, root: Path) -> str:
    """Why the bug cannot be planted as it stands; empty where it can."""
    path = root / bug.file
    if not path.is_file():
        return f"{bug.file} does not exist"
    if (count := path.read_text("utf-8").count(bug.old)) != 1:
        return f"the text to replace stands {count} times in {bug.file}, not once"
    if bug.old == bug.new:
        return "it changes nothing"
    if absent := [name for name in bug.tests if not (root / name).is_file()] or not bug.tests:
        return f"its tests do not exist: {absent}"
    return ""


def environment(copy: Path) -> dict[str, str]:
    """The copy goes before an installed course_lib, no compiled file hides a change, and one thread computes."""
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    beside = ROOT.parent / "shared" / "data"  # a copy elsewhere has no such neighbour
    if beside.is_dir():
        env.setdefault("COURSE_DATA_DIR", str(beside))
    return env


def uses_the_copy(copy: Path) -> bool:
    """Does Python, started where a test or a kernel starts, import the library of the copy?"""
    command = [sys.executable, "-c", "import course_lib; print(course_lib.__file__)"]
    done = subprocess.run(command, cwd=copy / "tests", env=environment(copy), capture_output=True, text=True)
    return done.returncode == 0 and Path(done.stdout.strip()).resolve() == copy / "course_lib" / "__init__.py"


def run_tests(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """The exit code of pytest (nbval for notebooks), and the first test that failed, or the end of the output."""
    command = [
        sys.executable,
        *["-m", "pytest", "-x", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"],
    ]
    if any(name.endswith(".ipynb") for name in tests):
        sanitize = copy / "tests" / "notebooks" / "sanitize.cfg"
        command += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", f"--nbval-sanitize-with={sanitize}"]
    else:
        command += ["-p", "no:nbval"]  # which takes seconds to load
    try:
        done = subprocess.run(
            [*command, *tests], cwd=copy, env=environment(copy), capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {SECONDS} s"
    failed = re.findall(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, flags=re.MULTILINE)
    return done.returncode, failed[0] if failed else " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])


def plant(bug: Bug, copy: Path) -> Outcome:
    """Plant the bug in the copy, run its tests, and put the file back."""
    path = copy / bug.file
    sound = path.read_bytes()
    started = time.monotonic()
    try:
        path.write_bytes(sound.decode().replace(bug.old, bug.new).encode())
        code, first = run_tests(copy, bug.tests)
    finally:
        path.write_bytes(sound)
    # pytest: 1 means that tests ran and some failed. Anything else says nothing about what they notice.
    verdict = {0: "SURVIVED: all tests pass", 1: first}.get(code, f"BROKEN (exit code {code}): {first}")
    return Outcome(bug, code == 1, verdict, time.monotonic() - started)


def red_without_a_bug(bugs: Iterable[Bug], copies: "queue.Queue[Path]") -> list[str]:
    """The tests that fail in the repository as it is: they could catch nothing."""
    problems = []
    copy = copies.get()
    for tests in sorted({bug.tests for bug in bugs}):
        code, first = run_tests(copy, tests)
        if code:
            problems.append(f"{' '.join(tests)} fails without any bug (exit code {code}): {first}")
    copies.put(copy)
    return problems


def main(arguments: Sequence[str] | None, bugs: Mapping[str, Sequence[Bug]], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted",
        description="Plant bugs in a copy of the repository; the tests must notice each.",
    )
    words_help = "only bugs with WORD in their name, their file or the file that lists them; may be given several times"
    parser.add_argument("-k", metavar="WORD", action="append", default=[], help=words_help)
    parser.add_argument("--list", action="store_true", help="list the bugs and stop")
    options = parser.parse_args(arguments)
    words = [word.lower() for word in options.k] or [""]
    chosen = [
        bug
        for listed_in, some in bugs.items()
        for bug in some
        if any(word in f"{bug.name}\n{bug.file}\n{listed_in}".lower() for word in words)
    ]
    if options.list:
        for bug in chosen:
            print(f"{bug.file:<40} {bug.name}")
        return 0
    if not chosen:
        print(f"no bug has {' or '.join(map(repr, options.k))} in its name or file; see --list")
        return 1
    if problems := [f"{bug.name}: {why}" for bug in chosen if (why := stale(bug, root))]:
        print("stale bugs, nothing was run:", *problems, sep="\n  ")
        return 1

    with tempfile.TemporaryDirectory(prefix="planted_bugs_") as scratch:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(min(WORKERS, len(chosen))):
            copy = Path(scratch).resolve() / str(number) / root.name
            shutil.copytree(root, copy, ignore=NOT_COPIED)
            if not uses_the_copy(copy):
                print(f"Python does not import course_lib from the copy in {copy}: the bugs would not be run")
                return 1
            copies.put(copy)
        if problems := red_without_a_bug(chosen, copies):
            print("these must be green first:", *problems, sep="\n  ")
            return 1

        def in_some_copy(bug: Bug) -> Outcome:
            copy = copies.get()
            try:
                return plant(bug, copy)
            finally:
                copies.put(copy)

        print(f"{'':8} {'bug':<52} {'file':<32} {'s':>5}  caught by", flush=True)
        outcomes = []
        with concurrent.futures.ThreadPoolExecutor(copies.qsize()) as pool:
            for outcome in pool.map(in_some_copy, chosen):
                outcomes.append(outcome)
                mark, bug = "caught" if outcome.caught else "NOT", outcome.bug
                print(f"{mark:8} {bug.name:<52} {bug.file:<32} {outcome.seconds:5.1f}  {outcome.verdict}", flush=True)
    survived = [outcome for outcome in outcomes if not outcome.caught]
    print(f"{len(outcomes) - len(survived)} of {len(outcomes)} bugs were caught")
    return 1 if survived else 0
