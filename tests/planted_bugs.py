"""Is anybody awake? Plants one bug after the other in a copy of the repository, and expects the tests to go red.

    python tests/planted_bugs.py              every bug (minutes)
    python tests/planted_bugs.py --list       what there is
    python tests/planted_bugs.py -k download  only bugs whose name or file contains this word

The working tree is never touched. A bug that no test notices survives, and the exit code is 1; so it is where the tests
are red without any bug, where a planted bug only breaks the collection of tests, and where the text that a bug replaces
no longer stands in its file exactly once (then the bug is stale: write it anew).

To add a bug: a wrong line that could pass for right (a forgotten case, a wrong bound, a swapped order),
and the quickest test file or notebook that ought to notice it.
"""

import argparse
import concurrent.futures
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


CORPORA = ("tests/data/test_corpora.py",)
RUNTIME = ("tests/test_runtime.py",)
SOURCE = ("tests/notebooks/test_show_source.py",)
GUARDS = ("tests/notebooks/test_guards.py",)

NGRAM = ("tests/models/test_ngram.py",)
SPLITS = ("tests/data/test_splits.py",)
TOKENIZERS = ("tests/data/test_tokenizers.py",)
BATCHES = ("tests/data/test_batches.py",)

WORLD = ("tests/data/test_storyworld.py",)
TRUTH = ("tests/data/test_storyworld_truth.py",)

POSITIONS = ("tests/layers/test_positions.py",)
MASKS = ("tests/layers/test_masks.py",)
ATTENTION = ("tests/layers/test_attention.py",)
CACHE = ("tests/layers/test_cache.py",)

_P, _M = "course_lib/layers/positions.py", "course_lib/layers/masks.py"
_A, _C = "course_lib/layers/attention.py", "course_lib/layers/cache.py"

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
        "the seed forgets PyTorch",
        "course_lib/runtime.py",
        "    torch.manual_seed(seed)\n",
        "    torch.Generator().manual_seed(seed)\n",
        RUNTIME,
    ),
    Bug(
        "a Mac's GPU goes before NVIDIA's",
        "course_lib/runtime.py",
        '        if torch.cuda.is_available():\n            return torch.device("cuda")\n'
        '        if torch.backends.mps.is_available():\n            return torch.device("mps")\n',
        '        if torch.backends.mps.is_available():\n            return torch.device("mps")\n'
        '        if torch.cuda.is_available():\n            return torch.device("cuda")\n',
        RUNTIME,
    ),
    Bug(
        "an unknown scale counts as laptop",
        "course_lib/runtime.py",
        'case "" | "laptop":',
        'case name if name != "gpu":',
        RUNTIME,
    ),
    Bug(
        "the scale is chosen the wrong way round",
        "course_lib/runtime.py",
        'return laptop if self.name == "laptop" else gpu',
        'return gpu if self.name == "laptop" else laptop',
        RUNTIME,
    ),
    Bug(
        "COURSE_THREADS wins over the argument",
        "course_lib/runtime.py",
        "    if n is None:\n        name, text",
        '    if n is None or os.environ.get("COURSE_THREADS"):\n        name, text',
        RUNTIME,
    ),
    Bug(
        "a method is shown with the indent of its class",
        "course_lib/workshop/source.py",
        "return textwrap.dedent(source).rstrip()",
        "return source.rstrip()",
        SOURCE,
    ),
    Bug(
        "backticks in the source close the block",
        "course_lib/workshop/source.py",
        'fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))',
        'fence = "`" * 3',
        SOURCE,
    ),
    Bug(
        "the guard lets a cell pass that was never run",
        "tests/notebooks/guards.py",
        "        if cell.execution_count != count:",
        "        if cell.execution_count not in (None, count):",
        GUARDS,
    ),
    Bug(
        "the guard counts ignored cells as compared",
        "tests/notebooks/guards.py",
        'return sum(nbval_options(cell)["check"] for cell in bearing), len(bearing)',
        'return sum("check" in nbval_options(cell) for cell in bearing), len(bearing)',
        GUARDS,
    ),
    Bug(
        "the borrowed probability is not weighed",
        "course_lib/models/ngram.py",
        "+ self.alpha * p) / (total + self.alpha)",
        "+ self.alpha) / (total + self.alpha)",
        NGRAM,
    ),
    Bug(
        "the end is not counted as a token",
        "course_lib/models/ngram.py",
        "tokens += len(sequence) + 1",
        "tokens += len(sequence)",
        NGRAM,
    ),
    Bug(
        "the model sees one token less",
        "course_lib/models/ngram.py",
        "tokens[i - self.order + 1 : i])\n            if p == 0",
        "tokens[i - self.order + 2 : i])\n            if p == 0",
        NGRAM,
    ),
    Bug(
        "temperature works upside down",
        "course_lib/models/ngram.py",
        "(p / top) ** (1 / temperature)",
        "(p / top) ** temperature",
        NGRAM,
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
    Bug(
        "a held-out thing can join the cast",
        "course_lib/data/storyworld/world.py",
        "        for name in state.names:\n            excluded |= self._banned_nouns[split][name]\n",
        "",
        WORLD,
    ),
    Bug(
        "a held-out person can join the cast",
        "course_lib/data/storyworld/world.py",
        "            excluded |= self._banned_names[split][noun]\n",
        "",
        WORLD,
    ),
    Bug(
        "she is called he",
        "course_lib/data/storyworld/grammar.py",
        '"he": {"f": "she", "m": "he"}, "him": {"f": "her", "m": "him"}',
        '"he": {"f": "he", "m": "she"}, "him": {"f": "her", "m": "him"}',
        WORLD,
    ),
    Bug(
        "她 is written 他",
        "course_lib/data/storyworld/grammar.py",
        '"他": {"f": "她", "m": "他"}',
        '"他": {"f": "他", "m": "他"}',
        WORLD,
    ),
    Bug(
        "the thief is angry and not the victim",
        "course_lib/data/storyworld/events.py",
        'Kind("take", 14, "B:here t:Bs", "t>A", "B:angry"',
        'Kind("take", 14, "B:here t:Bs", "t>A", "A:angry"',
        TRUTH,
    ),
    Bug(
        "a lent thing stays on the ground",
        "course_lib/data/storyworld/events.py",
        'Kind("lend", 12, "t:held B:here", "t>B"',
        'Kind("lend", 12, "t:held B:here", "t>h"',
        TRUTH,
    ),
    Bug(
        "the scorer forgets who was chosen",
        "course_lib/data/storyworld/scorer.py",
        "total = kind_p * candidate_p * form_p * p * self",
        "total = kind_p * form_p * p * self",
        TRUTH,
    ),
    Bug(
        "the scorer forgets that no second clause came",
        "course_lib/data/storyworld/scorer.py",
        "yield end + len(self.stop), after, total * (1 - level.chain), closing",
        "yield end + len(self.stop), after, total, closing",
        TRUTH,
    ),
    Bug(
        "stories end too late",
        "course_lib/data/storyworld/world.py",
        "1 / (high - step + 1)",
        "1 / (high - step + 2)",
        WORLD,
    ),
    Bug(
        "words from lists cost nothing",
        "course_lib/data/storyworld/world.py",
        "log += math.log(self.tables[table].probability(e.lists[name]))",
        "pass",
        TRUTH,
    ),
    Bug(
        "bare names add up to more than one",
        "course_lib/data/storyworld/world.py",
        "return CAST_TOPIC * cast.count(topic) / len(cast) + (1 - CAST_TOPIC) * p",
        "return CAST_TOPIC * cast.count(topic) / len(cast) + p",
        TRUTH,
    ),
    Bug(
        "spans end one character early",
        "course_lib/data/storyworld/story.py",
        "found.append(Entity(offset, offset + len(text), label, (label, key)))",
        "found.append(Entity(offset, offset + len(text) - 1, label, (label, key)))",
        WORLD,
    ),
    Bug(
        "Chinese sentences are counted with a space",
        "course_lib/data/storyworld/story.py",
        'position += len(getattr(sentence, language)) + (language == "en")',
        "position += len(getattr(sentence, language)) + 1",
        WORLD,
    ),
    Bug(
        "what is put down stays in the hand",
        "course_lib/data/storyworld/state.py",
        "                self.holder[who], self.lies[who] = -1, to\n",
        "                self.lies[who] = to\n",
        TRUTH,
    ),
    Bug(
        "a shortcut answers a question",
        "course_lib/data/storyworld/questions.py",
        "if answer in shortcuts or answer not in candidates or len(candidates - shortcuts) < 2:",
        "if answer not in candidates or len(candidates - shortcuts) < 2:",
        WORLD,
    ),
    Bug(
        "stories differ from process to process",
        "course_lib/data/storyworld/world.py",
        "rng = random.Random(seed * len(SPLITS) + SPLITS.index(split)).random",
        "rng = random.Random(hash((str(seed), split))).random",
        WORLD,
    ),
    Bug(
        "a test sentence stands in training in Chinese",
        "course_lib/data/storyworld/checks.py",
        "if sentence.en not in seen and sentence.zh not in seen:",
        "if sentence.en not in seen:",
        WORLD,
    ),
    Bug(
        "the ceiling takes the rarest translation",
        "course_lib/data/storyworld/translation.py",
        "max(found.items(), key=",
        "min(found.items(), key=",
        WORLD,
    ),
    # --- attention
    Bug(
        "scores are never divided by √K",
        _A,
        "scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale",
        "scale = 1 if scale is None else scale",
        ATTENTION,
    ),
    Bug(
        "scores are divided by K", _A, "scale = 1 / math.sqrt(q.shape[-1]) if", "scale = 1 / q.shape[-1] if", ATTENTION
    ),
    Bug(
        "keys are not transposed, only reshaped",
        _A,
        "(q * scale) @ k.mT",
        "(q * scale) @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])",
        ATTENTION,
    ),
    Bug(
        "the scale comes after the product, which overflows", _A, "(q * scale) @ k.mT", "(q @ k.mT) * scale", ATTENTION
    ),
    Bug(
        "the mask is read the wrong way round",
        _A,
        "scores.masked_fill(allowed & ~mask, -math.inf)",
        "scores.masked_fill(allowed & mask, -math.inf)",
        ATTENTION,
    ),
    Bug(
        "the mask subtracts a little instead of everything",
        _A,
        "scores.masked_fill(allowed & ~mask, -math.inf)",
        "scores - 5.0 * (allowed & ~mask)",
        ATTENTION,
    ),
    Bug("the softmax runs over the queries", _A, "scores.softmax(dim=-1,", "scores.softmax(dim=-2,", ATTENTION),
    Bug(
        "the bias is scaled too",
        _A,
        "        scores = scores + bias\n",
        "        scores = scores + bias * scale\n",
        ATTENTION,
    ),
    Bug(
        "a row that sees nothing reads the mean of all",
        _A,
        "        weights = weights.masked_fill(~allowed, 0)\n",
        "        pass\n",
        ATTENTION,
    ),
    Bug(
        "a row that sees nothing is NaN on the way back",
        _A,
        "scores.masked_fill(allowed & ~mask, -math.inf)",
        "scores.masked_fill(~mask, -math.inf)",
        ATTENTION,
    ),
    Bug(
        "half precision comes back as float32",
        _A,
        "    return weights.to(q.dtype)\n",
        "    return weights\n",
        ATTENTION,
    ),
    Bug(
        "the fused mask is forgotten where there is a bias",
        _A,
        "mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)",
        "mask = bias",
        ATTENTION,
    ),
    Bug(
        "the fused bias is masked where it may be seen",
        _A,
        "bias.masked_fill(~mask, -math.inf)",
        "bias.masked_fill(mask, -math.inf)",
        ATTENTION,
    ),
    Bug(
        "causal is aligned at the start with a cache",
        _A,
        "kernel_can = mask is None and bias is None and length == key_length",
        "kernel_can = mask is None and bias is None",
        CACHE,
    ),
    Bug(
        "one new token sees only the first key",
        _A,
        "    if length == 1:\n        causal = False  # the last position sees all others\n",
        "    if length == 1 and causal and mask is None and bias is None:\n        pass\n",
        CACHE,
    ),
    Bug(
        "causal is dropped where there is a mask",
        _A,
        "mask, causal = earlier if mask is None else mask & earlier, False",
        "mask, causal = earlier if mask is None else mask, False",
        ATTENTION,
    ),
    Bug(
        "causal and mask are joined by or",
        _A,
        "mask, causal = earlier if mask is None else mask & earlier, False",
        "mask, causal = earlier if mask is None else mask | earlier, False",
        ATTENTION,
    ),
    Bug("the scale does not reach the kernel", _A, "dropout_p=dropout, scale=scale,", "dropout_p=dropout,", ATTENTION),
    Bug(
        "dropout acts in evaluation",
        _A,
        "dropout = self.dropout if self.training else 0.0",
        "dropout = self.dropout",
        ATTENTION,
    ),
    Bug("dropout never acts", _A, "dropout = self.dropout if self.training else 0.0", "dropout = 0.0", ATTENTION),
    Bug(
        "heads are not transposed back",
        _A,
        "self.out(read.transpose(1, 2).flatten(2))",
        "self.out(read.reshape(*x.shape[:2], -1))",
        ATTENTION,
    ),
    Bug(
        "heads are cut out of positions",
        _A,
        "projected.unflatten(-1, (-1, self.head_width)).transpose(1, 2)",
        "projected.reshape(len(projected), -1, projected.shape[1], self.head_width)",
        ATTENTION,
    ),
    Bug(
        "keys and values are swapped",
        _A,
        "  # by the same angles\n",
        "\n        k, v = v, k\n",
        ATTENTION,
    ),
    Bug(
        "each key head serves every third query head, not its neighbours",
        _A,
        "        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)\n",
        "        k = k.repeat(1, self.heads // self.kv_heads, 1, 1)\n",
        ATTENTION,
    ),
    Bug(
        "keys are not turned",
        _A,
        "q, k = self.positions.turn(qk, positions).split([self.heads, self.kv_heads], dim=1)",
        "q, k = qk.split([self.heads, self.kv_heads], dim=1); q = self.positions.turn(q, positions)",
        ATTENTION,
    ),
    Bug(
        "values are turned like keys",
        _A,
        "        key_positions = positions\n",
        "        key_positions = positions\n        v = self.positions.turn(v, positions)\n",
        ATTENTION,
    ),
    Bug(
        "positions restart at 0 with a cache",
        _A,
        "positions = positions + cache.positions[..., -1:] + 1",
        "positions = positions + 0 * cache.positions[..., -1:]",
        CACHE,
    ),
    Bug(
        "positions go on from the last, not behind it",
        _A,
        "cache.positions[..., -1:] + 1",
        "cache.positions[..., -1:]",
        CACHE,
    ),
    Bug(
        "positions go on from the length, also where a row was padded",
        _A,
        "cache.positions[..., -1:] + 1",
        "cache.length",
        CACHE,
    ),
    Bug(
        "the bias forgets where cached keys stand",
        _A,
        "k, v, key_positions = cache.keys, cache.values, cache.positions",
        "k, v, key_positions = cache.keys, cache.values, torch.arange(cache.length, device=x.device)",
        CACHE,
    ),
    Bug(
        "a mask of each row is one of each head",
        _A,
        "return mask[:, None] if for_all_heads else mask",
        "return mask",
        ATTENTION,
    ),
    Bug(
        "a mask is checked only after the cache has grown",
        _A,
        "        _check_mask(mask, (len(x), *heads, x.shape[1], length), x.device)\n",
        "",
        CACHE,
    ),
    Bug(
        "cross-attention takes its queries from the keys' rows",
        _A,
        "F.linear(x, weight[:at], None if bias is None else bias[:at])",
        "F.linear(x, weight[-at:], None if bias is None else bias[-at:])",
        ATTENTION,
    ),
    Bug(
        "cross-attention appends its memory at every step",
        _A,
        "if cache is None or cache.length == 0:",
        "if cache is None or cache.length >= 0:",
        CACHE,
    ),
    Bug(
        "weights are not causal",
        _A,
        "            mask = earlier if mask is None else mask & earlier\n        k =",
        "            mask = mask if mask is not None else None\n        k =",
        ATTENTION,
    ),
    # --- masks
    Bug(
        "a position does not see itself",
        _M,
        "    t, s = _places(query_length, key_length, device)\n    return s <= t\n",
        "    t, s = _places(query_length, key_length, device)\n    return s < t\n",
        MASKS,
    ),
    Bug(
        "the causal mask is aligned at the start",
        _M,
        "return s[-query_length:, None], s",
        "return s[:query_length, None], s",
        MASKS,
    ),
    Bug("the window is one too wide", _M, "(s > t - window)", "(s >= t - window)", MASKS),
    Bug("the window looks ahead", _M, "return (s <= t) & (s > t - window)", "return s > t - window", MASKS),
    Bug("the prefix is one too long", _M, "< prefix_lengths[:, None]", "<= prefix_lengths[:, None]", MASKS),
    Bug(
        "a prefix hides what is causal",
        _M,
        "in_prefix[:, None, :] | causal_mask",
        "in_prefix[:, None, :] & causal_mask",
        MASKS,
    ),
    Bug(
        "padding cannot look, instead of not being looked at",
        _M,
        "return real[:, None, :]",
        "return real[:, :, None]",
        MASKS,
    ),
    Bug(
        "documents see each other and not themselves",
        _M,
        "document_ids[:, :, None] == document_ids[:, None, :]",
        "document_ids[:, :, None] != document_ids[:, None, :]",
        MASKS,
    ),
    # --- positions
    Bug(
        "speeds fall twice as fast",
        _P,
        "torch.arange(0, width, 2, device=positions.device, dtype=dtype) / width",
        "torch.arange(0, width, 2, device=positions.device, dtype=dtype) / (width // 2)",
        POSITIONS,
    ),
    Bug(
        "speeds fall by i / K, not 2i / K",
        _P,
        "torch.arange(0, width, 2, device=positions.device, dtype=dtype) / width",
        "torch.arange(width // 2, device=positions.device, dtype=dtype) / width",
        POSITIONS,
    ),
    Bug(
        "angles are computed in half precision",
        _P,
        "    return torch.promote_types(x.dtype, torch.float32)\n",
        "    return x.dtype\n",
        POSITIONS,
    ),
    Bug(
        "sinusoids are all sines, then all cosines",
        _P,
        "torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)",
        "torch.cat([angles.sin(), angles.cos()], dim=-1)",
        POSITIONS,
    ),
    Bug(
        "sine and cosine change places",
        _P,
        "torch.stack([angles.sin(), angles.cos()], dim=-1)",
        "torch.stack([angles.cos(), angles.sin()], dim=-1)",
        POSITIONS,
    ),
    Bug(
        "half-split turns the other way",
        _P,
        "torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)",
        "torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)",
        POSITIONS,
    ),
    Bug(
        "interleaved pairs come back half-split",
        _P,
        "torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)",
        "torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)",
        POSITIONS,
    ),
    Bug(
        "half-split pairs up neighbours",
        _P,
        "        a, b = x.chunk(2, dim=-1)\n",
        "        a, b = x[..., 0::2], x[..., 1::2]\n",
        POSITIONS,
    ),
    Bug(
        "rotary forgets its base",
        _P,
        "return rotate(x, positions, base=self.base, pairing=self.pairing)",
        "return rotate(x, positions, pairing=self.pairing)",
        POSITIONS,
    ),
    Bug(
        "positions of a row are those of a head",
        _P,
        "            positions = positions[:, None, :]  # the same for all heads\n",
        "            positions = positions[None]\n",
        POSITIONS,
    ),
    Bug(
        "conversion mixes up the heads",
        _P,
        "return order(weight.unflatten(0, (heads, -1))).flatten(0, 1)",
        "return order(weight.unflatten(0, (-1, heads)).transpose(0, 1)).flatten(0, 1)",
        POSITIONS,
    ),
    Bug("conversion is its own inverse", _P, "rows.unflatten(1, (2, -1))", "rows.unflatten(1, (-1, 2))", POSITIONS),
    Bug(
        "ALiBi's slopes are reversed",
        _P,
        "    return torch.tensor(slopes)\n",
        "    return torch.tensor(slopes[::-1])\n",
        POSITIONS,
    ),
    Bug(
        "ALiBi's slopes start at 1",
        _P,
        "[2 ** (-8 * (i + 1) / power) for i in range(power)]",
        "[2 ** (-8 * i / power) for i in range(power)]",
        POSITIONS,
    ),
    Bug(
        "ALiBi takes the evenly spaced slopes for any number of heads",
        _P,
        "power = 2 ** int(math.log2(heads))",
        "power = heads",
        POSITIONS,
    ),
    Bug("ALiBi rewards distance", _P, "(-self.slopes[:, None, None]", "(self.slopes[:, None, None]", POSITIONS),
    Bug(
        "ALiBi rewards keys that come later",
        _P,
        "_distances(query_positions, key_positions).abs()",
        "_distances(query_positions, key_positions)",
        POSITIONS,
    ),
    Bug(
        "ALiBi's slopes are rounded with the model",
        _P,
        "        self.slopes = alibi_slopes(heads)  # no buffer: .half() would round it\n",
        '        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)\n',
        POSITIONS,
    ),
    Bug(
        "distance is key minus query",
        _P,
        "query_positions.long().unsqueeze(-1) - key_positions.long().unsqueeze(-2)",
        "key_positions.long().unsqueeze(-2) - query_positions.long().unsqueeze(-1)",
        POSITIONS,
    ),
    Bug(
        "distances wrap around in small integers",
        _P,
        "query_positions.long().unsqueeze(-1) - key_positions.long().unsqueeze(-2)",
        "query_positions.unsqueeze(-1) - key_positions.unsqueeze(-2)",
        POSITIONS,
    ),
    Bug(
        "T5 swaps before and after",
        _P,
        "torch.where(distance < 0, buckets, 0)",
        "torch.where(distance > 0, buckets, 0)",
        POSITIONS,
    ),
    Bug(
        "T5's last exact bucket is lost",
        _P,
        "torch.where(distance < exact, distance,",
        "torch.where(distance < exact - 1, distance,",
        POSITIONS,
    ),
    Bug("T5 has one bucket too many", _P, "far.clamp(max=buckets - 1)", "far.clamp(max=buckets)", POSITIONS),
    Bug(
        "T5's decoder looks both ways",
        _P,
        "torch.zeros_like(distance), distance.clamp(min=0)",
        "torch.zeros_like(distance), distance.abs()",
        POSITIONS,
    ),
    Bug(
        "T5 rounds to the next bucket",
        _P,
        "(growth * (buckets - exact)).long()",
        "(growth * (buckets - exact)).round().long()",
        POSITIONS,
    ),
    Bug(
        "T5's heads stand where positions should",
        _P,
        "self.table(bucket).movedim(-1, -3)",
        "self.table(bucket).movedim(-1, -3).mT",
        POSITIONS,
    ),
    Bug(
        "Transformer-XL swaps u and v",
        _P,
        "by_distance = (q + self.v[:, None, :]) @ r.mT",
        "by_distance = (q + self.u[:, None, :]) @ r.mT",
        POSITIONS,
    ),
    Bug(
        "Transformer-XL is not scaled",
        _P,
        "(by_content + by_distance.gather(-1, index)) / math.sqrt(head_width)",
        "(by_content + by_distance.gather(-1, index))",
        POSITIONS,
    ),
    Bug(
        "Transformer-XL is scaled twice",
        _P,
        "(by_content + by_distance.gather(-1, index)) / math.sqrt(head_width)",
        "(by_content + by_distance.gather(-1, index)) / head_width",
        POSITIONS,
    ),
    Bug(
        "Transformer-XL repeats key heads in the wrong order",
        _P,
        "k = k.repeat_interleave(heads // k.shape[-3], dim=-3)",
        "k = k.repeat(1, heads // k.shape[-3], 1, 1)",
        POSITIONS,
    ),
    Bug(
        "Transformer-XL is one distance off",
        _P,
        "index = (distance - first)",
        "index = (distance - first).sub(1).clamp(min=0)",
        POSITIONS,
    ),
    Bug("the last learned position is refused", _P, "highest >= max_length", "highest >= max_length - 1", POSITIONS),
    Bug(
        "a position below 0 takes the last learned vector",
        _P,
        "if lowest < 0 or highest >= max_length:",
        "if highest >= max_length:",
        POSITIONS,
    ),
    # --- cache
    Bug(
        "rejected tokens stay among the keys",
        _C,
        "return buffer[:, :, : self._length]",
        "return buffer[:, :, : self.positions.shape[-1] + 0 * self._length] if buffer.shape[2] < 0 else buffer",
        CACHE,
    ),
    Bug(
        "rejected positions stay",
        _C,
        "            self._positions = self._positions[..., :length]\n",
        "            pass\n",
        CACHE,
    ),
    Bug(
        "new keys are written from the start",
        _C,
        "        buffer[:, :, start:end] = new\n",
        "        buffer[:, :, : end - start] = new\n",
        CACHE,
    ),
    Bug(
        "a larger buffer forgets what was there",
        _C,
        "                larger[:, :, :start] = buffer[:, :, :start]\n",
        "                pass\n",
        CACHE,
    ),
    Bug("the buffer grows by one token at a time", _C, "max(end, 2 * start)", "end", CACHE),
    Bug(
        "a beam keeps its old values",
        _C,
        "self._keys, self._values = self._keys[rows], self._values[rows]",
        "self._keys, self._values = self._keys[rows], self._values[: len(rows)]",
        CACHE,
    ),
    Bug(
        "a beam keeps its old positions",
        _C,
        "            self._positions = self._positions[rows]\n",
        "            pass\n",
        CACHE,
    ),
    Bug(
        "the cache keeps the caller's tensor",
        _C,
        "        if buffer is None or end > buffer.shape[2]:\n",
        "        if buffer is None:\n            return new\n        if end > buffer.shape[2]:\n",
        CACHE,
    ),
    Bug(
        "the cache keeps gradients",
        _C,
        "if keys.requires_grad or values.requires_grad:",
        "if keys.requires_grad and not keys.requires_grad:",
        CACHE,
    ),
    Bug(
        "a mistake is named that explains only some of the wrong cases",
        "course_lib/workshop/exercises/steps.py",
        "if telling and not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        "if telling and not all(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "a mistake that never shows is named",
        "course_lib/workshop/exercises/steps.py",
        "if telling and not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        "if not any(difference(got[i], theirs[i], self.tolerance) for i in telling):",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "the reference works on inputs that a mistake has changed",
        "course_lib/workshop/exercises/steps.py",
        "        inputs = copy.deepcopy(case)\n",
        "        inputs = case\n",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "any error on a broken implementation counts as caught",
        "course_lib/workshop/exercises/steps.py",
        "if may_raise and any(code is _code(implementation) for code, _ in frames_of(error.__traceback__)):",
        "if may_raise:",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "a test that refuses everything is praised for what it catches",
        "course_lib/workshop/exercises/steps.py",
        '        if not any(accepted):\n            raise Wrong("refuses_everything")\n',
        "",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "the learner draws other random numbers than the reference",
        "course_lib/workshop/exercises/steps.py",
        "        seed_a_call()\n        result = (on_behalf",
        "        result = (on_behalf",
        ("tests/workshop/exercises/test_steps.py",),
    ),
    Bug(
        "the learner's code works on our own inputs",
        "course_lib/workshop/exercises/calling.py",
        "copied_args, copied_kwargs = copy.deepcopy((args, kwargs))",
        "copied_args, copied_kwargs = args, kwargs",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "a list inside the input may change unseen",
        "course_lib/workshop/exercises/calling.py",
        "return len(now) == len(before) and all(map(is_unchanged, now, before))",
        "return len(now) == len(before)",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "an endless loop that swallows one exception is left running",
        "course_lib/workshop/exercises/calling.py",
        "            if self.finished.wait(0.02):\n                return\n",
        "            self.finished.wait(STOP_SECONDS)\n            return\n",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "a loop that swallows Exception swallows the deadline",
        "course_lib/workshop/exercises/calling.py",
        "class OutOfTimeError(BaseException):",
        "class OutOfTimeError(Exception):",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "a check draws from the random numbers of the cells below",
        "course_lib/workshop/exercises/calling.py",
        "        stack.enter_context(torch.random.fork_rng(devices=[]))\n",
        "",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "gradients are always on in the worker",
        "course_lib/workshop/exercises/calling.py",
        "torch.set_grad_enabled(self._gradients):",
        "torch.set_grad_enabled(True):",
        ("tests/workshop/exercises/test_calling.py",),
    ),
    Bug(
        "an error inside PyTorch shows PyTorch's line",
        "course_lib/workshop/exercises/calling.py",
        "        if _wrote_it(code, chapter_file) and (text",
        "        if (text",
        ("tests/workshop/exercises/test_checking.py",),
    ),
    Bug(
        "an error that PyTorch raises passes for a stub",
        "course_lib/workshop/exercises/calling.py",
        "return isinstance(error, NotImplementedError) and not error.args",
        "return isinstance(error, NotImplementedError)",
        ("tests/workshop/exercises/test_checking.py",),
    ),
    Bug(
        "a missing value is no difference",
        "course_lib/workshop/exercises/comparing.py",
        "if math.isfinite(want) and not math.isfinite(got):",
        "if math.isinf(got):",
        ("tests/workshop/exercises/test_comparing.py",),
    ),
    Bug(
        "the coarse tolerance of half precision holds for float32",
        "course_lib/workshop/exercises/comparing.py",
        "return max(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        "return max(_TOLERANCES.values())",
        ("tests/workshop/exercises/test_comparing.py",),
    ),
    Bug(
        "float32 is held to the tolerance of float64",
        "course_lib/workshop/exercises/comparing.py",
        "return max(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        "return min(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)",
        ("tests/workshop/exercises/test_comparing.py",),
    ),
    Bug(
        "values on another device are compared before the device",
        "course_lib/workshop/exercises/comparing.py",
        "if got.device != want.device:",
        "if got.device.type == want.device.type and got.device != want.device:",
        ("tests/workshop/exercises/test_comparing.py",),
    ),
    Bug(
        "what was right becomes wrong again",
        "course_lib/workshop/exercises/keeping.py",
        "\"SET state = CASE state WHEN 'right' THEN state ELSE excluded.state END\"",
        '"SET state = excluded.state"',
        ("tests/workshop/exercises/test_progress.py",),
    ),
    Bug(
        "a smaller hint makes the larger one forgotten",
        "course_lib/workshop/exercises/keeping.py",
        '"SET hints = max(hints, excluded.hints)"',
        '"SET hints = excluded.hints"',
        ("tests/workshop/exercises/test_progress.py",),
    ),
    Bug(
        "damage in the middle of the file is not looked for",
        "course_lib/workshop/exercises/keeping.py",
        'if file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):',
        'if file.execute("SELECT 1").fetchone() != (1,):',
        ("tests/workshop/exercises/test_progress.py",),
    ),
    Bug(
        "a file that another notebook holds is set aside as damaged",
        "course_lib/workshop/exercises/keeping.py",
        '_TROUBLES = "BUSY LOCKED PERM',
        '_TROUBLES = "PERM',
        ("tests/workshop/exercises/test_progress.py",),
    ),
    Bug(
        "two notebooks do not wait for each other",
        "course_lib/workshop/exercises/keeping.py",
        "WAIT_SECONDS = 5.0",
        "WAIT_SECONDS = 0.0",
        ("tests/workshop/exercises/test_progress.py",),
    ),
    Bug(
        "a wrong answer gets its points",
        "course_lib/workshop/exercises/checking.py",
        'if grading() and verdict.state != "right":',
        'if grading() and verdict.state == "raised":',
        ("tests/workshop/exercises/test_checking.py",),
    ),
    Bug(
        "a broken chapter takes the others with it",
        "course_lib/workshop/exercises/checking.py",
        "            broken = broken or error\n            continue\n",
        "            raise error\n",
        ("tests/workshop/exercises/test_checking.py",),
    ),
    Bug(
        "an unknown word in a text stops the check",
        "course_lib/workshop/exercises/catalogue.py",
        "    except (ValueError, IndexError, AttributeError, LookupError, TypeError):\n        return text\n",
        "    except ZeroDivisionError:\n        return text\n",
        ("tests/workshop/exercises/test_checking.py",),
    ),
    Bug(
        "what the learner prints reaches the page unescaped",
        "course_lib/workshop/exercises/verdicts.py",
        "{html.escape(text)}</pre>",
        "{text}</pre>",
        ("tests/workshop/exercises/test_hints.py",),
    ),
    Bug(
        "a hint asked for by its number is always the next",
        "course_lib/workshop/exercises/hints.py",
        "    if number is None:\n        number = ",
        "    if number is None or number < 3:\n        number = ",
        ("tests/workshop/exercises/test_hints.py",),
    ),
    Bug(
        "the stub loses its indentation",
        "course_lib/workshop/exercises/release.py",
        'return f"{indentation}raise NotImplementedError"',
        'return "    raise NotImplementedError"',
        ("tests/exercises/test_release.py",),
    ),
    Bug(
        "old outputs stay beside new code",
        "course_lib/workshop/exercises/release.py",
        "if before and [cell.source for cell in before.cells] == [cell.source for cell in new.cells]:",
        "if before and len(before.cells) == len(new.cells):",
        ("tests/exercises/test_release.py",),
    ),
    Bug(
        "a general text loses its placeholder's value",
        "course_lib/workshop/exercises/comparing.py",
        'return Wrong("wrong_length", got=len(got), want=len(want), place=_at(place))',
        'return Wrong("wrong_length", found=len(got), want=len(want), place=_at(place))',
        ("tests/exercises/test_catalogue.py",),
    ),
    Bug(
        "a forgotten end is no longer named",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        '                "end_forgotten": lambda tokens, step: sum(map(math.log, _steps(tokens, step, end=False))),\n',
        "",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "any temperature will do when it is cold",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "_beside(answer, _redraw, *case, tolerance=1e-3)",
        "_beside(answer, _redraw, *case, tolerance=1.0)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "truth and model are swapped in the reference",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "return _mean_surprise(truth, model) - _mean_surprise(truth, truth)\n",
        "return _mean_surprise(model, truth) - _mean_surprise(model, model)\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "all right models are rounded",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "    return {word: part / 2**40 for word, part in parts.items()}\n",
        "    return {word: part / 2**40 + 1e-15 for word, part in parts.items()}\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "the broken model at the beginning is not broken",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "return _next([so_far[-1]])",
        "return _next(so_far[-1:])",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "u is never above the last end",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "_beside(answer, _draw, distribution, math.nextafter(1, 0))",
        "_beside(answer, _draw, distribution, 0.95)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "all texts have one length",
        "course_lib/workshop/exercises/chapters/chapter_00.py",
        "    yield [[0.3, 2.1, 0.9, 1.7], [3.2, 0.4]]\n    yield [[1.9], [0.2, 0.7, 2.8, 0.1, 0.6], [2.4, 0.0, 1.1]]\n",
        "    yield [[0.3, 2.1, 0.9], [3.2, 0.4, 1.7]]\n    yield [[0.2, 0.7, 2.8], [2.4, 0.0, 1.1]]\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: another process has the same salt",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        'hash(("another process", value))',
        "hash(value)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: a share may be anything",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        "_SIGMAS = 6.0",
        "_SIGMAS = 60.0",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: no text of characters beyond Latin-1 is asked for",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        'text.encode("latin-1", "ignore").decode("latin-1")',
        'text.encode("ascii", "ignore").decode()',
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: ties are never tried",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        'Gives("ties", reference=_best_pair, cases=_words_with_ties',
        'Gives("ties", reference=_best_pair, cases=_words_without_ties',
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: a text always has an id too many for its windows",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        "((12, 4, 5), (21, 7, 6), (9, 1, 7)",
        "((13, 4, 5), (22, 7, 6), (11, 2, 7)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: the longest piece is no mistake",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        '    "longest_first": _longest_first,\n',
        "",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: bytes are counted in English only",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        "reference=_bits_per_byte, cases=_other_losses",
        "reference=_bits_per_byte, cases=_english_losses",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "chapter 01: no token occurs twice",
        "course_lib/workshop/exercises/chapters/chapter_01.py",
        "([4, 1, 4, 0, 4], 3, 7), ([2, 5, 2, 2, 5, 3], 4, 8)",
        "([4, 1, 2, 0, 3], 3, 7), ([2, 5, 1, 4, 6, 3], 4, 8)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "the first waves have width 4 alone, where two mistakes look alike",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "_NEAR = [(torch.tensor([0, 3, 5]), 4), (torch.tensor([1, 0]), 6)]",
        "_NEAR = [(torch.tensor([0, 3, 5]), 4)]",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "a partial turn at the speeds of the whole head is right",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "    return lambda x, p, part: torch.cat([turn(x[..., :part], p), x[..., part:]], dim=-1)\n\n\ndef _turned",
        "    return lambda x, p, part: torch.cat([turn(x, p)[..., :part], x[..., part:]], dim=-1)\n\n\ndef _turned",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "a tolerance so wide that slow pairs are not looked at",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        'Gives("values", _part(rotate), _turn_cases, _TURN_MISTAKES, tolerance=1e-4)',
        'Gives("values", _part(rotate), _turn_cases, _TURN_MISTAKES, tolerance=9.0)',
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "-1e4 above the diagonal is called unknown",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "(result < -1000) & result.isfinite()",
        "(result < -100_000) & result.isfinite()",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "keys after the query share the buckets of the past",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "    return queries[:, None] - keys\n",
        "    return (queries[:, None] - keys).abs()\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "the version that turns all tokens alike is a right one",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "torch.as_tensor(positions).flatten()[-1]",
        "torch.as_tensor(positions)",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "the later keys move the wrong way",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "reference=_dropped(lambda keys, gap: _by_steps(keys, -gap)),",
        "reference=_dropped(lambda keys, gap: _by_steps(keys, gap)),",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "keys and queries always have equally many heads",
        "course_lib/workshop/exercises/chapters/chapter_02.py",
        "    yield _random(8 * 8, 24), 4, 2\n    yield _random(5 * 12, 36), 3, 1\n",
        "",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "scores that are divided by √S are no longer recognised",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        '    "divided_by_root_S": lambda q, k: q @ k.mT / math.sqrt(k.shape[-2]),\n',
        "",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "T, S and K of the scores are equal, so one root passes for another",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        "    yield randn(2, 3, 5, 4), randn(2, 3, 7, 4)\n    yield randn(3, 2, 6, 16), randn(3, 2, 10, 16)\n    yield randn(2, 5, 1, 9), randn(2, 5, 8, 9)  # one new token in front of a cache\n",  # noqa: E501
        "    yield randn(2, 3, 4, 4), randn(2, 3, 4, 4)\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "nobody asks what a forbidden score of 200 does",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        "scores[0, 1, 2, 3] = scores[1, 0, 0, 4] = 200.0",
        "scores[0, 1, 2, 3] = scores[1, 0, 0, 4] = 2.0",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "the names of a window too wide and a window too narrow are exchanged",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        '"too_wide": _window_by(lambda t, s, w, sinks: (s <= t) & ((s >= t - w) | (s < sinks))),\n    "too_narrow": _window_by(lambda t, s, w, sinks: (s <= t) & ((s > t - w + 1) | (s < sinks))),',  # noqa: E501
        '"too_narrow": _window_by(lambda t, s, w, sinks: (s <= t) & ((s >= t - w) | (s < sinks))),\n    "too_wide": _window_by(lambda t, s, w, sinks: (s <= t) & ((s > t - w + 1) | (s < sinks))),',  # noqa: E501
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "new tokens come one by one or all at once, and never in between",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        "((1, 7), (3, 8), (4, 5), (9, 9))",
        "((1, 7), (9, 9))",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "as many key/value heads as query heads: their pairing shows nowhere",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        "((6, 3), (4, 2), (5, 1))",
        "((6, 6), (4, 4), (5, 1))",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "no broken attention changes its queries",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        "    q *= q.shape[-1] ** -0.5\n",
        "    q = q * q.shape[-1] ** -0.5\n",
        ("tests/exercises/test_answers.py",),
    ),
    Bug(
        "one reference of the test exercise is not attention",
        "course_lib/workshop/exercises/chapters/chapter_03.py",
        'scores = torch.einsum("...tk,...sk->...ts", q * q.shape[-1] ** -0.5, k)',
        'scores = torch.einsum("...tk,...sk->...ts", q * k.shape[-2] ** -0.5, k)',
        ("tests/exercises/test_answers.py",),
    ),
]


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


def main(arguments: Sequence[str] | None = None, bugs: Sequence[Bug] = BUGS, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Plant bugs in a copy of the repository; the tests must notice each.")
    parser.add_argument("-k", metavar="WORD", default="", help="only bugs whose name or file contains WORD")
    parser.add_argument("--list", action="store_true", help="list the bugs and stop")
    options = parser.parse_args(arguments)
    chosen = [bug for bug in bugs if options.k.lower() in f"{bug.name} {bug.file}".lower()]
    if options.list:
        for bug in chosen:
            print(f"{bug.file:<40} {bug.name}")
        return 0
    if not chosen:
        print(f"no bug has {options.k!r} in its name or file; see --list")
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


if __name__ == "__main__":
    sys.exit(main())
