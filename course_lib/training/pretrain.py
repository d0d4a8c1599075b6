"""Pretraining as one command: a corpus goes in, a folder with a GPT and its tokenizer comes out.

    python -m course_lib.training.pretrain storyworld_easy my_gpt --steps 300
    torchrun --nproc-per-node 2 -m course_lib.training.pretrain storyworld_easy my_gpt --steps 300

The second trains the same model in two processes. With ``--checkpoints FOLDER`` a training that was killed goes on from
there when the same command is given again. ``my_gpt/model/facts.json`` says how the model was made, and how good it is.

Documents stand side by side in rows (``pack_documents``), and none reads from its neighbours.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm.auto import tqdm

from course_lib.data.batches import EpochBatches, PackedBatch, pack_documents
from course_lib.data.corpora import CorpusError, load
from course_lib.data.splits import split_of
from course_lib.data.storyworld import Storyworld
from course_lib.data.tokenizers import BytePairTokenizer, Tokenizer
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.weights import save_with_tokenizer
from course_lib.objectives.causal import packed_loss
from course_lib.runtime import late_bar, seed_everything, set_threads
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.distributed import distributed
from course_lib.training.loop import train
from course_lib.training.optimisers import muon_and_adamw
from course_lib.training.schedules import linear_decay

END = "<|end|>"
_HELD_OUT = 300  # documents on which the loss is measured
_FOR_TOKENIZER = 5_000  # documents that the tokenizer learns from; more hardly change it


class Texts(NamedTuple):
    """What a model learns from, and what it never sees. ``best_nats``: the smallest possible loss over all of that."""

    training: list[str]
    held_out: list[str]
    best_nats: float | None


def texts_of(corpus: str, documents: int, seed: int) -> Texts:
    """At most so many documents of a corpus to train on. Of Storyworld there are as many as one asks for."""
    if corpus in ("storyworld_easy", "storyworld_full"):
        world = Storyworld("easy" if corpus == "storyworld_easy" else "full")
        stories = islice(world.stories("train", seed), documents)
        training = [story.en for story in tqdm(stories, desc=corpus, total=documents, unit=" stories", **late_bar())]
        held_out = list(islice(world.stories("train", seed + 1), _HELD_OUT))  # the same source, other stories
        return Texts(training, [story.en for story in held_out], -sum(story.log_prob for story in held_out))
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for text in load(corpus).documents():
        parts[split_of(text, validation=0)].append(text)
    return Texts(parts["train"][:documents], parts["test"][:_HELD_OUT], None)


def rows_of(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> PackedBatch:
    """Each text between two end marks, packed into rows: so its first token is predicted too, and where it ends."""
    end = tokenizer.special_ids[END]
    return pack_documents(([end, *ids] for ids in tokenizer.encode_batch(texts)), length, end)


@torch.no_grad()
def loss_on(model: nn.Module, rows: PackedBatch, batch_size: int = 32) -> tuple[float, int]:
    """The nats over all rows, and over how many targets they are. The model is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    nats, targets = 0.0, 0
    for parts in zip(*(tensor.split(batch_size) for tensor in rows), strict=True):
        total, count = packed_loss(model, PackedBatch(*(tensor.to(device) for tensor in parts)))
        nats, targets = nats + total.item(), targets + int(count)
    return nats, targets


def pretrain(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the options say, write the model to ``options.folder``, and return the facts written with it."""
    seed_everything(options.seed)
    texts = texts_of(options.corpus, options.documents, options.seed)
    tokenizer = BytePairTokenizer.train(texts.training[:_FOR_TOKENIZER], options.vocabulary, special_tokens=(END,))
    batches = EpochBatches(rows_of(texts.training, tokenizer, options.length), options.batch_size, options.seed)
    sizes = {name: getattr(options, name) for name in ("layers", "heads", "width", "rotary_base", "dropout")}
    with distributed() as process:
        model = GPT(GPTConfig(tokenizer.vocab_size, context=options.length, **sizes)).to(process.device)
        history = train(
            model,
            batches,
            packed_loss,
            muon_and_adamw(model, lr=options.lr, adamw_lr=options.adamw_lr, momentum=options.momentum),
            steps=options.steps,
            schedule=linear_decay(options.warmup),
            accumulate=options.accumulate,
            precision=options.precision,
            checkpoints=Checkpoints(options.checkpoints, options.every) if options.checkpoints else None,
        )
        facts: dict[str, Any] = {
            "command": _command(options),
            "corpus": options.corpus,
            "seed": options.seed,
            "steps": len(history.losses),
            "parameters": sum(p.numel() for p in model.parameters()),
            "loss": None,
            "best_possible": None,
            "unit": "nats per token, on documents it never saw",
        }
        if process.first:
            nats, targets = loss_on(model, rows_of(texts.held_out, tokenizer, options.length))
            facts["loss"] = round(nats / targets, 4)
            if texts.best_nats is not None:
                facts["best_possible"] = round(texts.best_nats / targets, 4)
            save_with_tokenizer(options.folder, model, tokenizer, **facts)
    return facts


def _command(options: argparse.Namespace) -> str:
    """What makes the same model again: all options that matter, also those that were not given."""
    skip = {"corpus", "folder", "checkpoints", "every"}
    named = [part for name, value in vars(options).items() if name not in skip for part in (_flag(name), str(value))]
    return shlex.join(["python", "-m", "course_lib.training.pretrain", options.corpus, "FOLDER", *named])


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.training.pretrain",
        description="Train a GPT on a corpus, from nothing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("corpus", help="storyworld_easy, storyworld_full, or another name of course_lib.data.corpora")
    parser.add_argument("folder", type=Path, help="where the model and its tokenizer go")
    numbers: dict[str, tuple[float, str]] = {
        "documents": (20_000, "to train on, at most"),
        "vocabulary": (600, "tokens, at most"),
        "length": (100, "tokens in a row"),
        "layers": (3, "blocks"),
        "heads": (4, "in each block"),
        "width": (96, "D"),
        "rotary_base": (10_000.0, "of the positions; a short row needs no slow ones"),
        "dropout": (0.0, "share of numbers set to zero"),
        "steps": (300, "of the optimiser"),
        "batch_size": (20, "rows in a batch"),
        "accumulate": (1, "batches in a step"),
        "lr": (0.005, "learning rate of Muon"),
        "adamw_lr": (0.01, "learning rate of AdamW"),
        "momentum": (0.95, "of Muon; 0.85 for few steps"),
        "warmup": (0, "steps"),
        "seed": (0, "of stories, weights and order; the stories held out are those of the next"),
        "every": (100, "steps between two checkpoints"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(_flag(name), type=type(default), default=default, metavar="N", help=text)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="to compute in")
    parser.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER", help="write checkpoints here, and go on from them"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    set_threads()
    try:
        facts = pretrain(options)
    except (CorpusError, ValueError) as error:
        parser.error(str(error))
    if facts["loss"] is not None:
        best = "" if facts["best_possible"] is None else f" (best possible: {facts['best_possible']:.3f})"
        print(f"loss {facts['loss']:.3f}{best} nats per token; the model stands in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
