"""Pretraining as one command: a corpus goes in, a folder with a model and its tokenizer comes out.

    python -m course_lib.training.pretrain storyworld_easy my_gpt --steps 300
    torchrun --nproc-per-node 2 -m course_lib.training.pretrain storyworld_easy my_gpt --steps 300
    python -m course_lib.training.pretrain storyworld_easy my_encoder --objective masked --steps 300

The second trains the same model in two processes; the third an encoder, which fills in hidden words. With
``--checkpoints FOLDER`` a training that was killed goes on from there when the same command is given again.
``my_gpt/model/facts.json`` says how the model was made, and how good it is.

For a GPT, documents stand side by side in rows (``pack_documents``), and none reads from its neighbours. For an encoder
each row is the beginning of one document, between ``[CLS]`` and ``[SEP]``.
"""

import argparse
import functools
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib.data.batches import (
    EpochBatches,
    LengthBatches,
    PackedBatch,
    PaddedBatch,
    pack_documents,
    pad_batch,
    row_batches,
)
from course_lib.data.corpora import CorpusError, load
from course_lib.data.splits import split_of
from course_lib.data.storyworld import Storyworld
from course_lib.data.tokenizers import BytePairTokenizer, Tokenizer
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder import BERT, recipe_config
from course_lib.models.weights import save_with_tokenizer
from course_lib.objectives.causal import packed_loss
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.masked import CLS, MASK, PAD, SEP, MaskedBatch, mask_tokens, masked_loss
from course_lib.runtime import late_bar, seed_everything, set_threads
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.distributed import distributed
from course_lib.training.loop import Batches, train
from course_lib.training.measuring import nats_of
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


def loss_on(model: nn.Module, rows: PackedBatch, batch_size: int = 32) -> tuple[float, int]:
    """The nats over all rows, and over how many targets they are."""
    nats, targets = nats_of(model, row_batches(rows, batch_size), packed_loss)
    return sum(nats), sum(targets)


class Causal:
    """What is special about a GPT."""

    specials = (END,)
    loss = staticmethod(packed_loss)

    def model(self, vocabulary: int, length: int, sizes: dict[str, Any]) -> nn.Module:
        return GPT(GPTConfig(vocabulary, context=length, **sizes))

    def batches(self, texts: Sequence[str], tokenizer: Tokenizer, options: argparse.Namespace) -> Batches:
        return EpochBatches(rows_of(texts, tokenizer, options.length), options.batch_size, options.seed)

    def held_out(self, model: nn.Module, texts: Sequence[str], tokenizer: Tokenizer, length: int) -> tuple[float, int]:
        return loss_on(model, rows_of(texts, tokenizer, length))


class Masked:
    """What is special about an encoder that fills in hidden words."""

    specials = (PAD, CLS, SEP, MASK)
    loss = staticmethod(masked_loss)

    def model(self, vocabulary: int, length: int, sizes: dict[str, Any]) -> nn.Module:
        model = BERT(recipe_config(vocabulary, length, **sizes))
        model.pooler.requires_grad_(False)  # it learns with a task; several processes must know that nothing reaches it
        return model

    def batches(self, texts: Sequence[str], tokenizer: Tokenizer, options: argparse.Namespace) -> Batches:
        rows = LengthBatches(text_rows(texts, tokenizer, options.length), options.batch_size, options.seed, real="mask")
        return Corrupted(rows, functools.partial(hide_words, tokenizer, share=options.hidden_share), options.seed)

    def held_out(self, model: nn.Module, texts: Sequence[str], tokenizer: Tokenizer, length: int) -> tuple[float, int]:
        generator = torch.Generator().manual_seed(0)
        parts = row_batches(text_rows(texts, tokenizer, length), 32)
        nats, targets = nats_of(model, (hide_words(tokenizer, rows, generator) for rows in parts), masked_loss)
        return sum(nats), sum(targets)


OBJECTIVES: dict[str, Causal | Masked] = {"causal": Causal(), "masked": Masked()}


def text_rows(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> PaddedBatch:
    """Each text between ``[CLS]`` and ``[SEP]``, cut off where it is too long, and filled up with ``[PAD]``."""
    pad, cls, sep = (tokenizer.special_ids[name] for name in (PAD, CLS, SEP))
    return pad_batch(([cls, *ids[: length - 2], sep] for ids in tokenizer.encode_batch(texts)), pad)


def hide_words(
    tokenizer: Tokenizer, rows: PaddedBatch, generator: torch.Generator, *, share: float = 0.15
) -> MaskedBatch:
    """``mask_tokens`` for whole words: a token goes on with the word before it if it is letters without a space.

    Only the letters a to z are known as such: é, and each Chinese character, begins a word of its own.
    """
    return mask_tokens(
        rows.ids,
        rows.mask,
        mask_id=tokenizer.special_ids[MASK],
        vocabulary=tokenizer.vocab_size,
        special_ids=tokenizer.special_ids.values(),
        generator=generator,
        share=share,
        word_ids=_begins_word(tokenizer)[rows.ids].cumsum(dim=1),
    )


@functools.lru_cache(maxsize=8)
def _begins_word(tokenizer: Tokenizer) -> Tensor:
    """For each id, whether it begins a word: with a space, as a sign (é too: these are bytes), or a special token."""
    return torch.tensor([not tokenizer.token_bytes(i).isalpha() for i in range(tokenizer.vocab_size)])


def pretrain(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the options say, write the model to ``options.folder``, and return the facts written with it."""
    seed_everything(options.seed)
    texts = texts_of(options.corpus, options.documents, options.seed)
    objective = OBJECTIVES[options.objective]
    specials = objective.specials
    tokenizer = BytePairTokenizer.train(texts.training[:_FOR_TOKENIZER], options.vocabulary, special_tokens=specials)
    batches = objective.batches(texts.training, tokenizer, options)
    sizes = {name: getattr(options, name) for name in ("layers", "heads", "width", "rotary_base", "dropout")}
    with distributed() as process:
        model = objective.model(tokenizer.vocab_size, options.length, sizes).to(process.device)
        history = train(
            model,
            batches,
            objective.loss,
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
            "unit": f"nats per {'hidden ' * (options.objective == 'masked')}token, on documents it never saw",
        }
        if process.first:
            nats, targets = objective.held_out(model, texts.held_out, tokenizer, options.length)
            facts["loss"] = round(nats / targets, 4)
            if texts.best_nats is not None and options.objective == "causal":
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
        description="Train a GPT or an encoder on a corpus, from nothing.",
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
        "hidden_share": (0.15, "of the words, with --objective masked"),
        "lr": (0.005, "learning rate of Muon"),
        "adamw_lr": (0.01, "learning rate of AdamW"),
        "momentum": (0.95, "of Muon; 0.85 for few steps"),
        "warmup": (0, "steps"),
        "seed": (0, "of stories, weights and order; the stories held out are those of the next"),
        "every": (100, "steps between two checkpoints"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(_flag(name), type=type(default), default=default, metavar="N", help=text)
    parser.add_argument("--objective", choices=OBJECTIVES, default="causal", help="a GPT, or an encoder")
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
