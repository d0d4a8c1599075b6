"""Files on disk that are whole or not there. (It imports no PyTorch: a tokenizer can do without.)"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """``with write_whole(path) as aside:`` write to ``aside``, a file beside it, which then takes the name ``path``.

    So a reader finds the old file or the new one, whole. After an error the old one stays.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
