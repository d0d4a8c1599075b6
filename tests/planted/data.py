"""Bugs in the data: corpora, splits, tokenizers, batches."""

from tests.planted.planting import Bug

CORPORA = ("tests/data/test_corpora.py",)
SPLITS = ("tests/data/test_splits.py",)
TOKENIZERS = ("tests/data/test_tokenizers.py",)
BATCHES = ("tests/data/test_batches.py",)

BUGS = [
    Bug(
        "a tampered download is kept",
        "course_lib/data/corpora.py",
        "if (sha256 := pooch.file_hash(str(path))) != remote.sha256:",
        "if len(sha256 := pooch.file_hash(str(path))) != len(remote.sha256):",
        CORPORA,
    ),
    Bug(
        "a damaged file in the cache is used",
        "course_lib/data/corpora.py",
        "if path.is_file() and pooch.file_hash(str(path)) == remote.sha256:",
        "if path.is_file():",
        CORPORA,
    ),
    Bug(
        "the download is written under its final name",
        "course_lib/data/corpora.py",
        "            part = Path(scratch, remote.file_name)\n",
        "            part = path\n",
        CORPORA,
    ),
    Bug(
        "a corpus gives its documents only once",
        "course_lib/data/corpora.py",
        "return lambda: (source for path in files if (source := _source(path)))",
        "sources = (source for path in files if (source := _source(path)))\n    return lambda: sources",
        CORPORA,
    ),
    Bug(
        "the order of documents is that of the file system",
        "course_lib/data/corpora.py",
        "return sorted(found, key=lambda path: path.relative_to(root).as_posix())",
        "return found",
        CORPORA,
    ),
    Bug(
        "docstrings come twice",
        "course_lib/data/corpora.py",
        "                seen.add(text)\n",
        "",
        CORPORA,
    ),
    Bug(
        "the standard library's tests are counted in",
        "course_lib/data/corpora.py",
        "if name not in _FOLDERS_LEFT_OUT]",
        'if name != "site-packages"]',
        CORPORA,
    ),
    Bug(
        "the size counts characters, not bytes",
        "course_lib/data/corpora.py",
        "sizes = [len(document.encode()) for",
        "sizes = [len(document) for",
        CORPORA,
    ),
    Bug(
        "COURSE_DATA_DIR takes any file of the right name",
        "course_lib/data/corpora.py",
        '    if sha256 != remote.sha256:\n        raise CorpusError(\n            f"{str(path)!r} in COURSE_DATA_DIR',
        '    if not sha256:\n        raise CorpusError(\n            f"{str(path)!r} in COURSE_DATA_DIR',
        CORPORA,
    ),
    Bug(
        "two keys in a row share their side only by luck",
        "course_lib/data/splits.py",
        'f"{salt}\\0{key}".encode()',
        'f"{salt}\\0{hash(key)}".encode()',
        SPLITS,
    ),
    Bug(
        "overlap is counted once a run, not once an occurrence",
        "course_lib/data/splits.py",
        "sum(gram in found for gram in runs) / len(runs)",
        "len(found) / len(runs)",
        SPLITS,
    ),
    Bug(
        "the shortest special token wins",
        "course_lib/data/tokenizers.py",
        "sorted(specials, key=len, reverse=True)",
        "sorted(specials, key=len)",
        TOKENIZERS,
    ),
    Bug(
        "the count of the old right pair stays",
        "course_lib/data/tokenizers.py",
        "pair_count[second, neighbour] -= count",
        "pair_count[second, neighbour] -= 0",
        TOKENIZERS,
    ),
    Bug(
        "an outdated merge is done all the same",
        "course_lib/data/tokenizers.py",
        "            if there == end or merge_id((ids[here], ids[there])) != new:",
        "            if there == end:",
        TOKENIZERS,
    ),
    Bug(
        "windows predict the token they see",
        "course_lib/data/batches.py",
        "corpus[1:].unfold(0, length, step)",
        "corpus[:-1].unfold(0, length, step)",
        BATCHES,
    ),
    Bug(
        "a target crosses into the next document",
        "course_lib/data/batches.py",
        "targets = torch.cat([ids[1:], torch.tensor([IGNORE])])",
        "targets = torch.cat([ids[1:], ids[:1]])",
        BATCHES,
    ),
    Bug(
        "positions run on over a boundary",
        "course_lib/data/batches.py",
        "batch.positions[b, here] = torch.arange(len(ids))",
        "batch.positions[b, here] = torch.arange(start, start + len(ids))",
        BATCHES,
    ),
    Bug(
        "padding counts as text",
        "course_lib/data/batches.py",
        "batch.mask[b, : len(row)] = True",
        "batch.mask[b] = True",
        BATCHES,
    ),
]
