"""Real text and our own: one registry of corpora, one way to load them, and a datasheet for each.

    corpus = load("python_docs")
    for document in corpus.documents(): ...     one string after the other, nothing held in memory
    print(corpus.text()[:300])                  all of it, documents joined by an empty line

A datasheet says where a text comes from and what it should not be used for, after "Datasheets for Datasets"
(Gebru et al. 2021, https://arxiv.org/abs/1803.09010), much shortened.

Environment variables: ``COURSE_DATA_DIR`` names a folder that already holds the files (then nothing is downloaded),
``COURSE_CACHE_DIR`` the folder that downloads are kept in (default: the user's cache folder).
"""

import ast
import difflib
import html
import os
import sysconfig
import tempfile
import textwrap
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Literal

import pooch
import requests
from tqdm.auto import tqdm

from course_lib.runtime import late_bar

_BETWEEN_DOCUMENTS = "\n\n"
_STORYWORLD_BYTES = 1_000_000


class CorpusError(RuntimeError):
    """A corpus that cannot be had on this machine as things stand. The text says why, and what to do."""


@dataclass(frozen=True)
class Datasheet:
    """What one should know about a corpus before training on it."""

    name: str
    source: str
    licence: str
    size: str
    language: str
    good_for: str
    not_good_for: str

    def __str__(self) -> str:
        def entry(label: str, text: str) -> str:
            lines = textwrap.wrap(text, 100, break_on_hyphens=False)
            return f"{label:<13} " + f"\n{'':<14}".join(lines)

        return "\n".join(entry(f.name.replace("_", " "), getattr(self, f.name)) for f in fields(self))


class Corpus:
    """A named text in documents. ``documents()`` can be called again and again, and always gives the same strings."""

    def __init__(self, datasheet: Datasheet, documents: Callable[[], Iterator[str]]) -> None:
        self.name = datasheet.name
        self.datasheet = datasheet
        self._documents = documents

    def documents(self) -> Iterator[str]:
        """The documents one by one, read or made as they are asked for."""
        return self._documents()

    def text(self) -> str:
        """The whole corpus in one string: its documents with an empty line between any two."""
        return _BETWEEN_DOCUMENTS.join(self._documents_with_progress())

    def _documents_with_progress(self) -> Iterable[str]:
        return tqdm(self.documents(), desc=self.name, unit=" documents", **late_bar())

    @cached_property
    def _count_and_bytes(self) -> tuple[int, int]:
        sizes = [len(document.encode()) for document in self._documents_with_progress()]
        return len(sizes), sum(sizes) + len(_BETWEEN_DOCUMENTS) * max(len(sizes) - 1, 0)

    @property
    def bytes(self) -> int:
        """The size of ``text()`` in UTF-8. The first time, this reads the whole corpus."""
        return self._count_and_bytes[1]

    def __str__(self) -> str:
        count, size = self._count_and_bytes
        return f"{self.name}: {count:,} documents, {size:,} bytes, {self.datasheet.language}"

    def __repr__(self) -> str:  # shows itself without reading the corpus, unlike str()
        return f"<Corpus {self.name}>"


class _Datasheets(tuple[Datasheet, ...]):
    """Datasheets that show themselves as a table: the main columns as text, every field in a notebook."""

    def __str__(self) -> str:
        shown = {"name": 20, "language": 10, "size": 26, "good_for": 52}
        lines = ["  ".join(f"{name.replace('_', ' '):<{width}}" for name, width in shown.items())]
        lines.append("  ".join("-" * width for width in shown.values()))
        for sheet in self:
            columns = [textwrap.wrap(getattr(sheet, name), width) for name, width in shown.items()]
            for i in range(max(map(len, columns))):
                cells = (column[i] if i < len(column) else "" for column in columns)
                lines.append("  ".join(f"{cell:<{w}}" for cell, w in zip(cells, shown.values(), strict=True)))
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names = [f.name for f in fields(Datasheet)]

        def row(tag: str, texts: Iterable[str]) -> str:
            style = "text-align: left; vertical-align: top; overflow-wrap: anywhere"
            cells = (f'<{tag} style="{style}">{html.escape(text)}</{tag}>' for text in texts)
            return f"<tr>{''.join(cells)}</tr>"

        body = "".join(row("td", [getattr(sheet, name) for name in names]) for sheet in self)
        head = row("th", [name.replace("_", " ") for name in names])
        whole = 'style="table-layout: fixed; width: 100%"'
        return f"<table {whole}><thead>{head}</thead><tbody>{body}</tbody></table>"


def datasheets() -> _Datasheets:
    """The datasheet of every corpus, in the order of the registry: a tuple that shows itself as a table."""
    return _Datasheets(sheet for sheet, _ in _CORPORA)


def load(name: str) -> Corpus:
    """The corpus with this name; ``datasheets()`` lists the names.

    A download happens here, once. Everything else is read or made while you go through ``documents()``.

    Raises ValueError for an unknown name, and CorpusError where the corpus cannot be had: no network, a download cut
    off or tampered with, a folder that cannot be read. A failed download leaves no file behind; call ``load`` again.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, such as 'python_docs', but is {name!r} ({type(name).__name__})")
    if name not in _REGISTRY:
        close = difflib.get_close_matches(name, _REGISTRY, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"name must be one of {', '.join(map(repr, _REGISTRY))}, but is {name!r}{hint}")
    datasheet, loader = _REGISTRY[name]
    return Corpus(datasheet, loader())


# --- the text in Python itself ---------------------------------------------------------------------------------------

# Tests are not the library, what others installed is not Python's, and the files differ from one build to the next.
_FOLDERS_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_FILES_LEFT_OUT = ("_sysconfigdata_", "_sysconfig_vars_", "sitecustomize", "usercustomize")
_TOPICS = "pydoc_data/topics.py"  # the chapters of the language reference that help() shows, as one dictionary
_USE_A_PYTHON = "use a Python that is installed in the usual way (python.org, conda, uv, or your system's packages)"


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _python_files(root: Path) -> list[Path]:
    """The sources of the standard library under ``root``, in an order that only depends on their names."""

    def fail(error: OSError) -> None:
        raise CorpusError(f"cannot read {error.filename}, Python's own library ({error.strerror}): {_USE_A_PYTHON}")

    found: list[Path] = []
    for folder, subfolders, names in os.walk(root, onerror=fail):
        subfolders[:] = [name for name in subfolders if name not in _FOLDERS_LEFT_OUT]
        found += [Path(folder, n) for n in names if n.endswith(".py") and not n.startswith(_FILES_LEFT_OUT)]
    if not found:
        raise CorpusError(f"there are no Python sources in {root}: {_USE_A_PYTHON}")
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _source(path: Path) -> str:
    """The text of a Python file in the encoding that it declares; empty where that encoding does not fit."""
    try:
        with tokenize.open(path) as file:
            return file.read().strip("\n")
    except (SyntaxError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise CorpusError(f"cannot read {path}, Python's own library ({error.strerror}): {_USE_A_PYTHON}") from error


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old-fashioned code in a file that is only read
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return ast.Module(body=[], type_ignores=[])


def _python_code(root: Path) -> Callable[[], Iterator[str]]:
    files = [path for path in _python_files(root) if path != root / _TOPICS]  # no code, and python_docs holds it
    return lambda: (source for path in files if (source := _source(path)))


def _python_docs(root: Path) -> Callable[[], Iterator[str]]:
    files = _python_files(root)
    if root / _TOPICS not in files:
        raise CorpusError(f"Python's documentation is missing ({root / _TOPICS}): {_USE_A_PYTHON}")

    def documents() -> Iterator[str]:
        seen: set[str] = set()
        for text in chain(_topics(root / _TOPICS), chain.from_iterable(map(_docstrings, files))):
            # A lone surrogate, which a docstring can hold as an escape, is no text: UTF-8 has no bytes for it.
            text = text.encode(errors="ignore").decode().strip()
            if text and text not in seen:
                seen.add(text)
                yield text

    return documents


def _topics(path: Path) -> Iterator[str]:
    for statement in _parse(_source(path)).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            topics = ast.literal_eval(statement.value)
            yield from (topics[name] for name in sorted(topics))


@cache  # parsing the whole library takes seconds, its docstrings 2 MB: a second pass is at once
def _docstrings(path: Path) -> tuple[str, ...]:
    """The docstrings in a source file, from top to bottom. The file is parsed, never imported."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node) or "")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):  # no expression holds a docstring
                visit(child)

    visit(_parse(_source(path)))
    return tuple(found)


# --- our own stories -------------------------------------------------------------------------------------------------


def _storyworld(level: Literal["easy", "full"], language: Literal["en", "zh"]) -> Callable[[], Iterator[str]]:
    """The first stories of the training split: as many as make 1 MB of English, so that both languages match."""

    def documents() -> Iterator[str]:
        from course_lib.data.storyworld import Storyworld

        size = 0
        for story in Storyworld(level).stories(split="train", seed=0):
            if size >= _STORYWORLD_BYTES:
                return
            size += len(story.en.encode())
            yield story.en if language == "en" else story.zh

    return documents


# --- files from the network ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RemoteFile:
    file_name: str
    url: str
    size: int  # in bytes
    sha256: str


_TINY_SHAKESPEARE = _RemoteFile(
    "tiny_shakespeare.txt",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    1_115_394,
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)


def _tiny_shakespeare() -> Callable[[], Iterator[str]]:
    path = _local_copy(_TINY_SHAKESPEARE)
    return lambda: iter(path.read_bytes().decode().split(_BETWEEN_DOCUMENTS))  # bytes: no line ending is changed


def _local_copy(remote: _RemoteFile) -> Path:
    """Where the file stands on this machine, checked byte for byte: in COURSE_DATA_DIR, or in the cache."""
    if folder := os.environ.get("COURSE_DATA_DIR", "").strip():
        return _given(remote, Path(folder).expanduser())
    cache = os.environ.get("COURSE_CACHE_DIR", "").strip() or pooch.os_cache("course_lib")
    return _downloaded(remote, Path(cache).expanduser())


def _given(remote: _RemoteFile, folder: Path) -> Path:
    """The file in a folder of the user's own: it is read and checked, and never changed."""
    path = folder / remote.file_name
    if not folder.is_dir():
        raise CorpusError(f"COURSE_DATA_DIR is {str(folder)!r}, but there is no such folder: correct it, or remove it")
    if not path.exists():
        raise CorpusError(
            f"COURSE_DATA_DIR is set, but {str(folder)!r} holds no {remote.file_name}: put the file there (from "
            f"{remote.url}, SHA-256 {remote.sha256}), or remove COURSE_DATA_DIR to let the course download it"
        )
    try:
        sha256 = pooch.file_hash(str(path))
    except OSError as error:
        raise CorpusError(
            f"cannot read {str(path)!r} in COURSE_DATA_DIR ({error.strerror}): make it a file that you may read"
        ) from error
    if sha256 != remote.sha256:
        raise CorpusError(
            f"{str(path)!r} in COURSE_DATA_DIR is not the expected file: its SHA-256 is {sha256}, not {remote.sha256}. "
            f"Replace it by the one from {remote.url} (an editor that changed line endings is enough to differ)"
        )
    return path


def _downloaded(remote: _RemoteFile, folder: Path) -> Path:
    """The file in the cache, downloaded if it is not there or damaged.

    The download goes to a scratch folder of this process beside the goal and is renamed when its SHA-256 is right, so
    that no half file ever bears the name, whatever breaks off and however many processes do the same.
    """
    path = folder / remote.file_name
    try:
        if path.is_file() and pooch.file_hash(str(path)) == remote.sha256:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            part = Path(scratch, remote.file_name)
            _download(remote, part)
            part.replace(path)
    except OSError as error:
        raise CorpusError(
            f"cannot keep {remote.file_name} in {str(folder)!r} ({error.strerror}): make room or allow writing there, "
            "or set COURSE_CACHE_DIR to a folder where both are given"
        ) from error
    return path


def _download(remote: _RemoteFile, path: Path) -> None:
    """Write the remote file to ``path``; CorpusError unless its bytes are the expected ones."""
    otherwise = (
        f"Without the network: put {remote.file_name} (SHA-256 {remote.sha256}) into a folder and set COURSE_DATA_DIR "
        "to that folder, or take a corpus that needs no download, such as 'storyworld_full' or 'python_docs'"
    )
    fetch = pooch.HTTPDownloader(chunk_size=2**16, timeout=(10, 30))  # seconds to connect, seconds without a byte
    bar = {"desc": remote.file_name, "total": remote.size, **late_bar()}
    try:
        with path.open("wb") as file, tqdm.wrapattr(file, "write", **bar) as watched_file:
            fetch(remote.url, watched_file, None)
    except requests.HTTPError as error:
        raise CorpusError(
            f"the server refused: {error}. The file may have moved, or a later try works. {otherwise}"
        ) from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise CorpusError(
            f"the download of {remote.url} was cut off; what had arrived is thrown away. Call load() again. {otherwise}"
        ) from error
    except requests.RequestException as error:
        raise CorpusError(
            f"cannot reach {remote.url} ({type(error).__name__}): is there a network, and does it let this address "
            f"through? {otherwise}"
        ) from error
    if (sha256 := pooch.file_hash(str(path))) != remote.sha256:
        raise CorpusError(
            f"what came from {remote.url} is not the expected file: its SHA-256 is {sha256}, not {remote.sha256}; it "
            "is thrown away. Something on the way changed it (a login page of the network?), or the file itself was "
            f"changed. {otherwise}"
        )


# --- the registry ----------------------------------------------------------------------------------------------------


def _storyworld_sheet(level: str, language: str) -> Datasheet:
    chinese = "_zh" if language == "Chinese" else ""
    other = f"storyworld_{level}{'' if chinese else '_zh'}"
    about = {
        "easy": ("few words and short stories: a small model learns them in a minute", "judging how good a model is"),
        "full": (
            "training and measuring: names with two meanings, skewed frequencies, and a known best possible loss",
            "learning how people really write: the stories come from rules, and the world in them is small",
        ),
    }
    good, bad = about[level]
    return Datasheet(
        name=f"storyworld_{level}{chinese}",
        source="made here, by course_lib.data.storyworld: the first stories of the training split, seed 0",
        licence="that of this course",
        size="1 MB" if not chinese else f"the same stories as {other}",
        language=language,
        good_for=f"{good}; each document is the translation of the same document in {other}",
        not_good_for=f"{bad}; nor for more than 1 MB or for a test set (Storyworld itself gives endless splits)",
    )


_PYTHON_LICENCE = "Python Software Foundation License Version 2; examples in the documentation also Zero-Clause BSD"

_Loader = Callable[[], Callable[[], Iterator[str]]]  # called by load(), it checks and gives what documents() calls

_CORPORA: list[tuple[Datasheet, _Loader]] = [
    (_storyworld_sheet("easy", "English"), partial(_storyworld, "easy", "en")),
    (_storyworld_sheet("easy", "Chinese"), partial(_storyworld, "easy", "zh")),
    (_storyworld_sheet("full", "English"), partial(_storyworld, "full", "en")),
    (_storyworld_sheet("full", "Chinese"), partial(_storyworld, "full", "zh")),
    (
        Datasheet(
            name="python_docs",
            source="the Python that is running: the chapters behind help(), then every docstring of its library",
            licence=_PYTHON_LICENCE,
            size="about 2 MB, by release",
            language="English",
            good_for="real technical English on every machine without a download: tokenizers, first models",
            not_good_for="numbers to compare between machines (each Python release has another text), or everyday "
            "language; near copies abound, so split it with care",
        ),
        lambda: _python_docs(_standard_library()),
    ),
    (
        Datasheet(
            name="python_code",
            source="the Python that is running: the source files of its standard library, without the tests",
            licence=_PYTHON_LICENCE,
            size="about 11 MB, by release",
            language="Python",
            good_for="code as a tokenizer and a model meet it: indentation, names, long repetitions",
            not_good_for="numbers to compare between machines, or modern style; one tenth are tables of character "
            "sets that resemble each other",
        ),
        lambda: _python_code(_standard_library()),
    ),
    (
        Datasheet(
            name="tiny_shakespeare",
            source="40,000 lines of Shakespeare's plays in one file, put together by Andrej Karpathy for char-rnn "
            "(2015): " + _TINY_SHAKESPEARE.url,
            licence="the plays are in the public domain",
            size=f"{_TINY_SHAKESPEARE.size:,} bytes",
            language="English",
            good_for="comparing with the many small models that others trained on it, character by character",
            not_good_for="today's English, or a test by chance: speeches of one scene answer each other, so hold "
            "out the end of the file",
        ),
        _tiny_shakespeare,
    ),
]
_REGISTRY = {sheet.name: (sheet, loader) for sheet, loader in _CORPORA}
