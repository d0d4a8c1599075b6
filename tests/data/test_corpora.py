"""The corpora: what they hold, in which order, and what happens when one cannot be had."""

import argparse
import ast
import dataclasses
import hashlib
import http.server
import inspect
import itertools
import json
import multiprocessing
import os
import pydoc_data.topics
import re
import socket
import sys
import sysconfig
import threading
from pathlib import Path

import pooch
import pytest

from course_lib.data import corpora
from course_lib.data.corpora import Corpus, CorpusError, Datasheet, datasheets, load

REPOSITORY = Path(__file__).resolve().parents[2]
GIVEN = os.environ.get("COURSE_DATA_DIR", "").strip()
STORYWORLDS = ["storyworld_easy", "storyworld_easy_zh", "storyworld_full", "storyworld_full_zh"]
NAMES = [*STORYWORLDS, "python_docs", "python_code", "tiny_shakespeare"]
GOOD = b"ROMEO:\nGood morrow.\n\nJULIET:\nGood night.\n" * 5000  # 200 kB: several chunks of the download
REMOTE = corpora._RemoteFile("play.txt", "http://127.0.0.1:1/play.txt", len(GOOD), hashlib.sha256(GOOD).hexdigest())


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No test reads the settings or the cache of the person who runs it, or asks a proxy for 127.0.0.1."""
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# --- the registry ----------------------------------------------------------------------------------------------------


def test_every_corpus_has_a_full_datasheet_under_its_own_name():
    sheets = datasheets()
    assert sorted(sheet.name for sheet in sheets) == sorted(NAMES)
    for sheet in sheets:
        for field in ("source", "licence", "size", "language", "good_for", "not_good_for"):
            assert getattr(sheet, field).strip(), f"{sheet.name}: {field} is empty"


def test_the_table_shows_every_corpus_within_120_columns_and_loses_no_word():
    table = str(datasheets())
    assert max(map(len, table.splitlines())) <= 120
    for sheet in datasheets():
        assert re.search(rf"^{sheet.name}  ", table, flags=re.MULTILINE)
        for word in f"{sheet.language} {sheet.size} {sheet.good_for}".split():
            assert word in table
    assert repr(datasheets()) == table


def test_the_table_in_a_notebook_holds_every_field_and_escapes_it():
    page = datasheets()._repr_html_()
    assert page.count("<tr>") == len(NAMES) + 1
    assert "Andrej Karpathy" in page
    odd = Datasheet(*["<b>&"] * 7)
    assert corpora._Datasheets([odd])._repr_html_().count("&lt;b&gt;&amp;") == 7


def test_a_datasheet_prints_every_field_on_lines_of_at_most_120_columns():
    for sheet in datasheets():
        text = str(sheet)
        assert max(map(len, text.splitlines())) <= 120
        assert re.search(r"^not good for  \S", text, flags=re.MULTILINE)
        assert re.sub(r"\s+", " ", sheet.not_good_for) in re.sub(r"\s+", " ", text)


def test_an_unknown_name_is_refused_with_the_names_that_exist_and_the_nearest_one():
    with pytest.raises(
        ValueError, match=r"name must be one of .*'python_docs', .* but is 'python-docs'; did you mean 'py"
    ):
        load("python-docs")
    with pytest.raises(ValueError, match=r"name must be one of .* but is 'x'$"):
        load("x")


@pytest.mark.parametrize("name", [None, 3, b"python_docs", ["python_docs"]])
def test_a_name_that_is_no_string_is_refused(name):
    with pytest.raises(TypeError, match=re.escape(f"name must be a string, such as 'python_docs', but is {name!r}")):
        load(name)


# --- the corpus ------------------------------------------------------------------------------------------------------


def corpus_of(*documents):
    return Corpus(datasheets()[0], lambda: iter(documents))


def test_text_joins_the_documents_by_an_empty_line_and_bytes_is_its_size_in_utf_8():
    corpus = corpus_of("One é.", "二", "🦊\n\nthree")
    assert corpus.text() == "One é.\n\n二\n\n🦊\n\nthree"
    assert corpus.bytes == len("One é.\n\n二\n\n🦊\n\nthree".encode()) == 25
    assert str(corpus) == "storyworld_easy: 3 documents, 25 bytes, English"


def test_an_empty_corpus_has_no_bytes():
    assert corpus_of().bytes == 0
    assert corpus_of().text() == ""


def test_documents_come_one_by_one_and_can_be_asked_for_again():
    made = []

    def endless():
        for i in itertools.count():
            made.append(i)
            yield f"document {i}"

    corpus = Corpus(datasheets()[0], endless)
    assert list(itertools.islice(corpus.documents(), 2)) == ["document 0", "document 1"]
    assert made == [0, 1]
    assert next(corpus.documents()) == "document 0"
    assert repr(corpus) == "<Corpus storyworld_easy>"  # and showing it does not read it: this one never ends


@pytest.mark.parametrize(("value", "silent"), [("1", True), ("0", False), ("", False), (None, False)])
def test_progress_is_shown_late_and_never_where_outputs_are_compared(monkeypatch, value, silent):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if value is not None:
        monkeypatch.setenv("TQDM_DISABLE", value)
    bars = []

    def recorded(documents, **options):
        bars.append((options["disable"], options["delay"]))
        return documents

    monkeypatch.setattr(corpora, "tqdm", recorded)
    assert corpus_of("text").text() == "text"
    assert corpus_of("text").bytes == 4
    assert bars == [(silent, 2)] * 2


# --- the text in Python itself ---------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path):
    """A standard library in small, with everything that has to be left out."""
    files: dict[str, str | bytes] = {
        "pydoc_data/topics.py": 'topics = {"b": "Second topic.\\n", "a": "\\nFirst topic.", "c": "Shared text."}',
        "b.py": '"""Module b."""\nclass C:\n    """Class C."""\n    def f(self):\n        """\n        Method\n'
        '          f.\n        """\nasync def g():\n    "Function g."\nx = """No docstring."""\n',
        "a/__init__.py": '"""Shared text."""\nif 1:\n    def h():\n        """In an if."""\nelse:\n    def h():\n'
        '        """In an else."""\ntry:\n    pass\nexcept E:\n    def h():\n        """In an except."""\n'
        'match 1:\n    case 1:\n        def h():\n            """In a case."""\n',
        "a/z.py": '"""Class C."""\n"""No docstring either."""\ndef k():\n    """Lone \\ud83e surrogate."""\n',
        "latin.py": b'# -*- coding: latin-1 -*-\n"""Caf\xe9."""\n',
        "undecodable.py": b'"""\xff\xfe"""',
        "broken.py": '"""Not Python."""\ndef (:',
        "old.py": '"""Old escape \\d."""',
        "blank.py": "\n\n",
        "_sysconfigdata_x.py": '"""Of one build."""',
        "test/t.py": '"""Test."""',
        "c/tests/t.py": '"""Tests."""',
        "idlelib/idle_test/t.py": '"""Idle test."""',
        "site-packages/p.py": '"""Installed."""',
        "notes.txt": "no Python",
    }
    for name, content in files.items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / "lib"


def test_python_docs_are_topics_by_name_and_then_docstrings_by_path_without_duplicates(library):
    assert list(corpora._python_docs(library)()) == [
        "First topic.",
        "Second topic.",
        "Shared text.",
        "In an if.",
        "In an else.",
        "In an except.",
        "In a case.",
        "Class C.",
        "Lone  surrogate.",
        "Module b.",
        "Method\n  f.",
        "Function g.",
        "Café.",
        "Old escape \\d.",
    ]


def test_python_code_is_the_sources_by_path_without_tests_and_installed_packages(library):
    documents = list(corpora._python_code(library)())
    assert [document.splitlines()[0] for document in documents] == [
        '"""Shared text."""',
        '"""Class C."""',
        '"""Module b."""',
        '"""Not Python."""',
        "# -*- coding: latin-1 -*-",
        '"""Old escape \\d."""',
    ]
    assert documents[4] == '# -*- coding: latin-1 -*-\n"""Café."""'


def test_the_order_does_not_depend_on_the_order_of_the_file_system(library, monkeypatch):
    docs, code = list(corpora._python_docs(library)()), list(corpora._python_code(library)())
    walk = os.walk

    def backwards(top, onerror=None):
        for folder, subfolders, names in walk(top, onerror=onerror):
            subfolders.sort(reverse=True)
            yield folder, subfolders, sorted(names, reverse=True)

    monkeypatch.setattr(corpora.os, "walk", backwards)
    assert list(corpora._python_docs(library)()) == docs
    assert list(corpora._python_code(library)()) == code


def test_nothing_of_the_library_is_imported_to_read_it(library):
    (library / "bomb.py").write_text('"""A docstring."""\nraise SystemExit("imported")\n')
    assert "A docstring." in list(corpora._python_docs(library)())
    sysconfig.get_config_vars()  # knowing where the library lies imports a module of its own
    before = set(sys.modules)
    assert sum(1 for _ in load("python_docs").documents()) > 5000
    assert not {m for m in set(sys.modules) - before if not m.startswith("encodings.")}  # which reading a file needs


def test_python_docs_hold_what_help_shows():
    text = load("python_docs").text()
    assert str(inspect.getdoc(json.dumps)) in text  # inspect reads it from the running function
    assert str(inspect.getdoc(argparse)) in text
    assert pydoc_data.topics.topics["lambda"].strip() in text


@pytest.mark.parametrize(("name", "least", "most"), [("python_docs", 2e6, 3e6), ("python_code", 9e6, 13e6)])
def test_the_text_in_python_has_the_size_that_its_datasheet_names(name, least, most):
    corpus = load(name)
    documents = list(corpus.documents())
    assert least < corpus.bytes < most  # "about 2 MB", "about 11 MB"; Python 3.11 to 3.13 differ by a tenth
    assert corpus.bytes == len(corpus.text().encode())
    assert documents == list(load(name).documents())
    assert len(set(documents)) == len(documents) or name == "python_code"
    assert str(corpus).startswith(f"{name}: {len(documents):,} documents, {corpus.bytes:,} bytes")


def test_python_code_is_code_and_holds_no_tests():
    documents = list(load("python_code").documents())
    assert inspect.getsource(ast).strip("\n") in documents
    assert not any("class TestCase" in d and "test.support" in d[:2000] for d in documents)
    with open(Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py"), encoding="utf-8") as file:
        assert file.read().strip("\n") not in documents


@pytest.mark.parametrize("reader", [corpora._python_docs, corpora._python_code])
def test_a_python_without_sources_gives_a_clear_error(tmp_path, reader):
    with pytest.raises(
        CorpusError, match=r"cannot read .*nowhere.* Python's own library .*: use a Python that is installed"
    ):
        reader(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"there are no Python sources in .*: use a Python that is installed"):
        reader(tmp_path)


def test_a_python_without_its_documentation_gives_a_clear_error(library):
    (library / "pydoc_data" / "topics.py").unlink()
    with pytest.raises(CorpusError, match=r"documentation is missing \(.*topics.py\): use a Python that is installed"):
        corpora._python_docs(library)


def test_a_library_folder_that_may_not_be_read_gives_a_clear_error(library, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    documents = corpora._python_code(library)()
    monkeypatch.setattr(corpora.tokenize, "open", refuse)
    with pytest.raises(CorpusError, match=r"cannot read .*__init__.py, Python's own library \(Permission denied\)"):
        next(documents)


# --- our own stories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORYWORLDS)
def test_the_stories_are_the_first_of_the_training_split(name):
    from course_lib.data.storyworld import Storyworld

    level, language = name.split("_")[1], "zh" if name.endswith("_zh") else "en"
    stories = itertools.islice(Storyworld(level).stories(split="train", seed=0), 20)
    assert list(itertools.islice(load(name).documents(), 20)) == [getattr(story, language) for story in stories]


@pytest.mark.parametrize("level", ["easy", "full"])
def test_both_languages_hold_the_same_stories_and_english_ends_with_the_one_that_fills_1_mb(level, monkeypatch):
    assert corpora._STORYWORLD_BYTES == 1_000_000
    monkeypatch.setattr(corpora, "_STORYWORLD_BYTES", 50_000)  # the same rule in a twentieth of the time
    english = list(load(f"storyworld_{level}").documents())
    chinese = list(load(f"storyworld_{level}_zh").documents())
    assert len(english) == len(chinese) > 10
    size = sum(len(story.encode()) for story in english)
    assert size - len(english[-1].encode()) < 50_000 <= size
    assert all(re.search("[\u4e00-\u9fff]", story) for story in chinese)
    assert not any(re.search("[\u4e00-\u9fff]", story) for story in english)


def test_the_first_story_comes_without_making_the_others(monkeypatch):
    from course_lib.data import storyworld

    made = []
    stories = storyworld.Storyworld.stories

    def counted(self, *args, **kwargs):
        for story in stories(self, *args, **kwargs):
            made.append(story)
            yield story

    monkeypatch.setattr(storyworld.Storyworld, "stories", counted)
    next(load("storyworld_full").documents())
    assert len(made) == 1


# --- a file of the user's own ----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_shakespeare(monkeypatch):
    folder = Path(GIVEN or REPOSITORY.parent / "shared" / "data")
    if not (folder / "tiny_shakespeare.txt").is_file():
        pytest.skip("tiny_shakespeare.txt is not on this machine: set COURSE_DATA_DIR to the folder that holds it")
    monkeypatch.setenv("COURSE_DATA_DIR", str(folder))
    return folder / "tiny_shakespeare.txt"


def test_tiny_shakespeare_is_read_from_course_data_dir_to_the_letter(tiny_shakespeare):
    corpus = load("tiny_shakespeare")
    assert corpus.text().encode() == tiny_shakespeare.read_bytes()
    assert f"{corpus.bytes:,} bytes" == corpus.datasheet.size
    documents = list(corpus.documents())
    assert documents[0] == "First Citizen:\nBefore we proceed any further, hear me speak."
    assert documents == list(corpus.documents())
    assert not list(Path(os.environ["COURSE_CACHE_DIR"]).glob("*"))


def test_a_course_data_dir_that_does_not_exist_gives_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(
        CorpusError, match=r"COURSE_DATA_DIR is '.*absent', but there is no such folder: correct it, or"
    ):
        load("tiny_shakespeare")


def test_a_course_data_dir_without_the_file_says_what_to_put_there(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    with pytest.raises(
        CorpusError,
        match=r"holds no tiny_shakespeare.txt: put the file there \(from https://.*, SHA-256 86c4e6a.*\), or",
    ):
        load("tiny_shakespeare")


def test_a_file_that_cannot_be_read_gives_a_clear_error(monkeypatch, tmp_path):
    (tmp_path / "tiny_shakespeare.txt").mkdir()  # a folder of this name: unreadable for every user, root included
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    with pytest.raises(
        CorpusError, match=r"cannot read '.*tiny_shakespeare.txt' in COURSE_DATA_DIR \(.*\): make it a file"
    ):
        load("tiny_shakespeare")


def test_another_file_in_course_data_dir_is_refused_and_left_as_it_is(monkeypatch, tmp_path):
    path = tmp_path / "tiny_shakespeare.txt"
    path.write_bytes(b"First Citizen:\r\n")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    seen = hashlib.sha256(b"First Citizen:\r\n").hexdigest()
    with pytest.raises(CorpusError, match=f"is not the expected file: its SHA-256 is {seen}, not 86c4.* Replace it by"):
        load("tiny_shakespeare")
    assert path.read_bytes() == b"First Citizen:\r\n"


# --- a file from the network -----------------------------------------------------------------------------------------


class Play(http.server.BaseHTTPRequestHandler):
    """Serves the file well or badly, as the path of the address says. Each request is counted."""

    requests: list[str]
    two = threading.Barrier(2)

    def do_GET(self):
        self.requests.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "recovers":  # the first answer is cut off, those after it are good
            kind = "cut" if len(self.requests) == 1 else "good"
        if kind == "missing":
            return self.send_error(404, "Not Found")
        body = {"tampered": GOOD.replace(b"Good night", b"Bad  night"), "short": GOOD[:-1000]}.get(kind, GOOD)
        self.send_response(200)
        if kind != "short":  # without a length, the client cannot see that the end is missing
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "together":
            self.two.wait(timeout=30)  # no answer before both have asked
        self.wfile.write(body[: len(body) // 2] if kind == "cut" else body)
        self.close_connection = True
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Play,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server, kind):
    return dataclasses.replace(REMOTE, url=f"http://127.0.0.1:{server.server_port}/{kind}/play.txt")


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.exists() else []


def test_a_good_download_is_kept_and_not_repeated(server, tmp_path, capfd):
    path = corpora._downloaded(remote(server, "good"), tmp_path / "new" / "cache")
    assert path.read_bytes() == GOOD
    assert corpora._downloaded(remote(server, "good"), tmp_path / "new" / "cache") == path
    assert server.RequestHandlerClass.requests == ["/good/play.txt"]
    assert everything_in(tmp_path / "new" / "cache") == ["play.txt"]
    assert capfd.readouterr() == ("", "")  # no path of this machine gets into a stored notebook


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tampered", r"is not the expected file: its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}; it is thrown away"),
        ("short", r"is not the expected file: its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}; it is thrown away"),
        ("cut", r"the download of http://127.0.0.1:\d+/cut/play.txt was cut off; what had arrived is thrown away"),
        ("missing", r"the server refused: 404 Client Error: Not Found for url: http://.*may have moved"),
    ],
    ids=["tampered", "short", "cut", "missing"],
)
def test_a_bad_download_gives_a_clear_error_and_leaves_nothing_behind(server, tmp_path, kind, message):
    with pytest.raises(
        CorpusError, match=f"{message}.*put play.txt .* into a folder and set COURSE_DATA_DIR to that folder"
    ):
        corpora._downloaded(remote(server, kind), tmp_path / "cache")
    assert everything_in(tmp_path / "cache") == []


def test_no_network_gives_a_clear_error_and_leaves_nothing_behind(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take this port, and none answers
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/play.txt"
        with pytest.raises(
            CorpusError, match=rf"cannot reach {address} \(Connect.*\): is there a network, .*COURSE_DATA"
        ):
            corpora._downloaded(dataclasses.replace(REMOTE, url=address), tmp_path / "cache")
    assert everything_in(tmp_path / "cache") == []


def test_an_interrupted_download_leaves_nothing_behind(server, tmp_path, monkeypatch):
    def interrupt(self, url, output_file, _):
        output_file.write(GOOD[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        corpora._downloaded(remote(server, "good"), tmp_path / "cache")
    assert everything_in(tmp_path / "cache") == []


def test_a_second_try_works_after_a_download_that_was_cut_off(server, tmp_path):
    with pytest.raises(CorpusError, match="cut off"):
        corpora._downloaded(remote(server, "recovers"), tmp_path / "cache")
    assert corpora._downloaded(remote(server, "recovers"), tmp_path / "cache").read_bytes() == GOOD


def test_a_damaged_file_in_the_cache_is_replaced(server, tmp_path):
    (tmp_path / "play.txt").write_bytes(GOOD[:-1])
    assert corpora._downloaded(remote(server, "good"), tmp_path).read_bytes() == GOOD
    assert everything_in(tmp_path) == ["play.txt"]


def test_a_cache_folder_that_cannot_be_written_gives_a_clear_error(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        CorpusError, match=r"cannot keep play.txt in '.*file' \(.*\): make room .* or set COURSE_CACHE_DIR"
    ):
        corpora._downloaded(remote(server, "good"), tmp_path / "file")

    def full(self, url, output_file, _):
        output_file.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(CorpusError, match=r"cannot keep play.txt in .* \(No space left on device\): make room"):
        corpora._downloaded(remote(server, "good"), tmp_path / "cache")
    assert everything_in(tmp_path / "cache") == []


def is_downloaded(remote, folder):
    return corpora._downloaded(remote, Path(folder)).read_bytes() == GOOD


def test_two_processes_may_download_at_once(server, tmp_path):
    play = remote(server, "together")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = pool.starmap_async(is_downloaded, [(play, str(tmp_path / "cache"))] * 2, chunksize=1)
        assert both.get(timeout=60) == [True, True]
    assert server.RequestHandlerClass.requests == ["/together/play.txt"] * 2
    assert everything_in(tmp_path / "cache") == ["play.txt"]


def test_the_name_appears_only_when_the_whole_file_is_there(server, tmp_path, monkeypatch):
    seen = []
    file_hash = pooch.file_hash

    def look(path):
        seen.append((Path(path).name, (tmp_path / "play.txt").exists()))
        return file_hash(path)

    monkeypatch.setattr(corpora.pooch, "file_hash", look)
    corpora._downloaded(remote(server, "good"), tmp_path)
    assert seen == [("play.txt", False)]  # the download was checked under its goal's name, in a folder of its own
    assert everything_in(tmp_path) == ["play.txt"]


def test_load_downloads_into_the_cache_folder_and_reads_from_there(server, tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_TINY_SHAKESPEARE", remote(server, "good"))
    corpus = load("tiny_shakespeare")
    assert corpus.text().encode() == GOOD
    assert everything_in(tmp_path / "cache") == ["play.txt"]
    server.RequestHandlerClass.requests.clear()
    assert load("tiny_shakespeare").bytes == len(GOOD)
    assert server.RequestHandlerClass.requests == []


@pytest.mark.download
def test_tiny_shakespeare_can_be_downloaded_from_where_it_really_is(tmp_path):
    assert load("tiny_shakespeare").bytes == 1_115_394
