"""Our byte-pair tokenizer against Hugging Face tokenizers (and tiktoken), in one run, on one thread.

    python benchmarks/bench_tokenizers.py [TEXT_FILE] [--rounds 7] [--vocab-size 10000] [--check]

The text is the file given, or tiny_shakespeare.txt in the folder COURSE_DATA_DIR, or what every Python has: its
documentation and the sources of its standard library. The first 1 MB of it is used. Each round times both sides, one
right after the other; the table gives the median over the rounds of each time and of their ratio. Times are CPU seconds
of this process, all threads together, so a busy machine disturbs them little and a hidden second thread would count.
"cold" is the first encoding by a new tokenizer, "warm" one by a tokenizer that has encoded the same text before. Both
split text by the same pattern. With --check the exit status is 1 if a limit in the table is missed.
"""

import argparse
import gc
import os
import pydoc_data.topics
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import tiktoken
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from course_lib.data.tokenizers import GPT4_PATTERN, BytePairTokenizer

SIZE = 1_000_000  # bytes


def benchmark_text(path: str | None) -> tuple[str, str]:
    """The name of the text, and the text."""
    folder = os.environ.get("COURSE_DATA_DIR")
    file = Path(path) if path else Path(folder, "tiny_shakespeare.txt") if folder else None
    if file and (path or file.exists()):
        return file.name, file.read_bytes()[:SIZE].decode(errors="ignore")
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts = [*pydoc_data.topics.topics.values(), *(source.read_text(encoding="utf-8") for source in sources)]
    return "Python documentation and standard library", "\n".join(parts).encode()[:SIZE].decode(errors="ignore")


def seconds(action: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    action()
    return time.process_time() - start


def hugging_face() -> tokenizers.Tokenizer:
    split = pre_tokenizers.Split(Regex(GPT4_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return tokenizer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text_file", nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"  # read by tokenizers when it first starts to work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    name, text = benchmark_text(arguments.text_file)
    lines = text.splitlines(keepends=True)
    trainer = trainers.BpeTrainer(
        vocab_size=arguments.vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs = hugging_face()
    theirs.train_from_iterator(lines, trainer)
    their_file = theirs.to_str()
    ours = BytePairTokenizer.train(lines, arguments.vocab_size)
    ranks = {ours.token_bytes(i): i for i in range(ours.vocab_size)}
    tiktokens = tiktoken.Encoding("ours", pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens={})
    assert tiktokens.encode(text) == ours.encode(text)

    times: dict[str, list[tuple[float, float]]] = {}

    def compare(row: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        times.setdefault(row, []).append((seconds(ours), seconds(theirs)))

    for _ in range(arguments.rounds):
        compare(
            "train, HF `train_from_iterator`",
            lambda: BytePairTokenizer.train(lines, arguments.vocab_size),
            lambda: hugging_face().train_from_iterator(lines, trainer),
        )
        for form, batch in (("lines", lines), ("one text", [text])):
            my = BytePairTokenizer(ours.merges)
            their = tokenizers.Tokenizer.from_str(their_file)
            for state in ("cold", "warm"):
                compare(
                    f"encode {form}, {state}, HF `encode_batch`",
                    lambda my=my, batch=batch: my.encode_batch(batch),  # type: ignore[misc]
                    lambda their=their, batch=batch: [e.ids for e in their.encode_batch(batch)],  # type: ignore[misc]
                )
            compare(
                f"encode {form}, warm, HF `encode_batch_fast` (no offsets)",
                lambda my=my, batch=batch: my.encode_batch(batch),  # type: ignore[misc]
                lambda their=their, batch=batch: [e.ids for e in their.encode_batch_fast(batch)],  # type: ignore[misc]
            )
            compare(
                f"encode {form}, warm, tiktoken `encode_ordinary_batch`",
                lambda my=my, batch=batch: my.encode_batch(batch),  # type: ignore[misc]
                lambda batch=batch: tiktokens.encode_ordinary_batch(batch, num_threads=1),  # type: ignore[misc]
            )

    limits = {"train": 1.5, "encode_batch`": 1.0}
    our_ids, their_ids = len(ours.encode(text)), len(theirs.encode(text).ids)
    print(f"{name}: {len(text):,} characters, {len(text.encode()):,} bytes, {len(lines):,} lines")
    print(f"{arguments.vocab_size:,} ids asked, {ours.vocab_size:,} learned; the text is {our_ids:,} tokens", end=" ")
    print(f"(Hugging Face: {their_ids:,}); medians of {arguments.rounds} rounds, CPU seconds\n")
    print("| | ours | other | ours / other | limit |\n|---|---:|---:|---:|---:|")
    missed = False
    for row, pairs in times.items():
        ratio = statistics.median(mine / other for mine, other in pairs)
        limit = next((value for key, value in limits.items() if key in row), None)
        missed |= limit is not None and ratio > limit
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {row} | {mine:.3f} | {other:.3f} | {ratio:.2f} | {limit or ''} |")
    return int(missed and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
