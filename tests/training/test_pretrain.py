"""The command that pretrains: what it writes is what it says, and a training that was interrupted ends the same."""

import argparse
import math
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from course_lib.data.batches import IGNORE, PaddedBatch, pack_documents
from course_lib.data.corpora import Corpus, load
from course_lib.data.storyworld import Storyworld
from course_lib.data.tokenizers import BytePairTokenizer
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder import BERT
from course_lib.models.storage import read_folder
from course_lib.models.weights import load_with_tokenizer
from course_lib.objectives.causal import causal_loss, packed_loss
from course_lib.training import pretrain
from course_lib.training.checkpoints import Checkpoints, Run
from course_lib.training.pretrain import (
    CLS,
    END,
    MASK,
    PAD,
    SEP,
    hide_words,
    loss_on,
    main,
    rows_of,
    text_rows,
    texts_of,
)

SIZES = {"documents": 40, "layers": 1, "heads": 2, "width": 12, "batch-size": 3, "vocabulary": 400, "length": 90}
SMALL = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]


def small_model(vocabulary: int) -> GPT:
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocabulary, context=16, layers=2, heads=2, width=12, zero_init=False))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


def test_packed_rows_cost_what_their_documents_cost_alone() -> None:
    documents = [[7, 1, 2, 3], [7, 4], [7, 5, 5, 6, 2, 1], [7, 3, 1]]
    rows = pack_documents(documents, length=11, eos_id=7)
    model = small_model(8)
    total, targets = packed_loss(model, rows)
    alone = 0.0
    for document in documents:
        ids = torch.tensor([[*document, 7]])
        alone += F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    assert int(targets) == sum(map(len, documents))
    assert total.item() == pytest.approx(alone, rel=1e-5)  # sums of float32, in another order
    beside_each_other = causal_loss(model, (rows.ids, rows.targets)).total.item()
    assert abs(beside_each_other - alone) > 1e-3  # what packing without a mask would give


def test_the_facts_tell_the_loss_on_stories_that_the_model_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storyworld_easy", str(tmp_path / "gpt"), "--steps", "3", "--seed", "4", *SMALL]) == 0
    model, tokenizer = load_with_tokenizer(tmp_path / "gpt")
    facts = read_folder(tmp_path / "gpt" / "model")[1]
    new = list(islice(Storyworld("easy").stories("train", seed=5), 300))
    nats, targets, end = 0.0, 0, tokenizer.special_ids[END]
    with torch.no_grad():
        for story in new:
            ids = torch.tensor([[end, *tokenizer.encode(story.en), end]])
            nats += F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
            targets += ids.shape[1] - 1
    assert facts["loss"] == pytest.approx(nats / targets, abs=1e-4)
    assert facts["best_possible"] == pytest.approx(-sum(story.log_prob for story in new) / targets, abs=1e-4)
    assert f"loss {facts['loss']:.3f} (best possible: {facts['best_possible']:.3f})" in capsys.readouterr().out


def test_the_command_in_the_facts_makes_the_same_model_again(tmp_path: Path) -> None:
    main(["storyworld_easy", str(tmp_path / "first"), "--steps", "2", "--seed", "3", *SMALL])
    first = read_folder(tmp_path / "first" / "model")
    words = first[1]["command"].split()
    assert words[:3] == ["python", "-m", "course_lib.training.pretrain"]
    main([str(tmp_path / "again") if word == "FOLDER" else word for word in words[3:]])
    again = read_folder(tmp_path / "again" / "model")
    assert again[1] == first[1]
    weights, same = first[0]["model.safetensors"], again[0]["model.safetensors"]
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_an_interrupted_training_goes_on_and_ends_the_same(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["storyworld_easy", "--steps", "5", "--every", "2", "--objective", objective, *SMALL]
    main([*arguments, str(tmp_path / "whole")])

    save, steps = Checkpoints.save, []

    def save_and_be_killed(self: Checkpoints, run: Run) -> None:
        save(self, run)
        steps.append(run.step)
        if len(steps) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_be_killed)
    resumable = [*arguments, str(tmp_path / "resumed"), "--checkpoints", str(tmp_path / "run")]
    with pytest.raises(KeyboardInterrupt):
        main(resumable)
    main(resumable)
    assert steps == [2, 4, 5]
    weights = [read_folder(tmp_path / name / "model")[0]["model.safetensors"] for name in ("whole", "resumed")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_training_and_held_out_documents_share_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stories = texts_of("storyworld_full", 400, seed=0)
    assert len(stories.training) == 400
    assert not set(stories.training) & set(stories.held_out)
    sheet = load("storyworld_easy").datasheet
    pages = Corpus(sheet, lambda: (f"page {number}" for number in range(1000)))
    monkeypatch.setattr(pretrain, "load", lambda name: pages)
    texts = texts_of("python_docs", 10_000, seed=0)
    assert not set(texts.training) & set(texts.held_out)
    assert 850 < len(texts.training) < 950  # one document in ten is held out
    assert texts.best_nats is None
    assert len(texts_of("python_docs", 30, seed=0).training) == 30


def test_a_corpus_whose_best_loss_nobody_knows_has_none_in_the_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Corpus(load("storyworld_easy").datasheet, lambda: (f"This is page {number}." for number in range(200)))
    monkeypatch.setattr(pretrain, "load", lambda name: pages)
    main(["python_docs", str(tmp_path / "gpt"), "--steps", "1", *SMALL])
    facts = read_folder(tmp_path / "gpt" / "model")[1]
    assert facts["best_possible"] is None
    assert 0 < facts["loss"] < math.log(400) + 1


def test_the_loss_does_not_depend_on_how_rows_are_batched() -> None:
    model = small_model(400)
    texts = texts_of("storyworld_easy", 60, seed=2)
    tokenizer = pretrain.BytePairTokenizer.train(texts.training, 400, special_tokens=(END,))
    rows = rows_of(texts.training, tokenizer, 90)
    one, three = loss_on(model, rows, batch_size=7), loss_on(model, rows, batch_size=100)
    assert one[1] == three[1] == sum(len(tokenizer.encode(text)) + 1 for text in texts.training)
    assert one[0] == pytest.approx(three[0], rel=1e-5)


def test_an_unknown_corpus_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["storyworlds", str(tmp_path)])
    assert stopped.value.code == 2
    assert "'storyworld_easy'" in capsys.readouterr().err


# --- an encoder ------------------------------------------------------------------------------------------------------


def test_an_encoders_facts_tell_the_loss_of_hidden_words_in_stories_it_never_saw(tmp_path: Path) -> None:
    options = ["--objective", "masked", "--steps", "3", "--seed", "4", "--hidden-share", "0.5", *SMALL]
    assert main(["storyworld_easy", str(tmp_path / "encoder"), *options]) == 0
    model, tokenizer = load_with_tokenizer(tmp_path / "encoder")
    assert isinstance(model, BERT)
    assert (model.config.positions, model.config.qk_norm, model.config.feedforward) == ("rotary", True, "relu2")
    facts = read_folder(tmp_path / "encoder" / "model")[1]
    new = [story.en for story in islice(Storyworld("easy").stories("train", seed=5), 300)]
    generator, nats, targets = torch.Generator().manual_seed(0), 0.0, 0
    rows = text_rows(new, tokenizer, 90)
    with torch.no_grad():
        for first in range(0, 300, 32):
            part = PaddedBatch(*(tensor[first : first + 32] for tensor in rows))
            batch = hide_words(tokenizer, part, generator, share=0.15)  # whatever share it was trained with
            for ids, wanted, real in zip(*batch, strict=True):
                logits = model(ids[None, : real.sum()])[0]
                nats += F.cross_entropy(logits, wanted[: real.sum()], reduction="sum", ignore_index=IGNORE).item()
                targets += int((wanted != IGNORE).sum())
    assert facts["loss"] == pytest.approx(nats / targets, abs=1e-4)
    assert facts["best_possible"] is None
    assert facts["unit"] == "nats per hidden token, on documents it never saw"


def tokenizer_and_rows(length: int) -> tuple[BytePairTokenizer, list[str], PaddedBatch]:
    texts = [story.en for story in islice(Storyworld("full").stories("train", seed=1), 40)]
    tokenizer = BytePairTokenizer.train(texts, 330, special_tokens=(PAD, CLS, SEP, MASK))  # most words in pieces
    return tokenizer, texts, text_rows(texts, tokenizer, length)


def test_a_row_is_one_text_between_its_marks_cut_where_it_is_too_long() -> None:
    tokenizer, texts, rows = tokenizer_and_rows(300)
    for text, ids, real in zip(texts, rows.ids.tolist(), rows.mask, strict=True):
        expected = [tokenizer.special_ids[CLS], *tokenizer.encode(text)[:298], tokenizer.special_ids[SEP]]
        assert ids[: len(expected)] == expected
        assert set(ids[len(expected) :]) <= {tokenizer.special_ids[PAD]}
        assert int(real.sum()) == len(expected)
    assert rows.ids.shape[1] == 300


def test_words_are_hidden_whole_and_about_as_many_as_asked_for() -> None:
    tokenizer, _, rows = tokenizer_and_rows(300)
    batch = hide_words(tokenizer, rows, torch.Generator().manual_seed(2), share=0.4)
    chosen, words = batch.targets != IGNORE, 0
    for ids, hidden, real in zip(rows.ids.tolist(), chosen.tolist(), rows.mask.tolist(), strict=True):
        pieces = [tokenizer.token_bytes(i) for i in ids]
        for before, piece, a, b in zip(pieces, pieces[1:], hidden, hidden[1:], strict=False):
            if piece.isalpha() and before != CLS.encode():
                assert a == b, (before, piece)  # one word, or a word behind a sign that it is written together with
            words += not piece.isalpha() and b
        assert not any(
            h for h, r, i in zip(hidden, real, ids, strict=True) if not r or i in tokenizer.special_ids.values()
        )
    share = chosen[rows.mask].float().mean().item()
    assert 0.35 < share < 0.45
    assert words > 500


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_an_encoder_is_trained_on_the_share_of_hidden_words_that_the_command_says(share: float) -> None:
    tokenizer, texts, _ = tokenizer_and_rows(300)
    options = argparse.Namespace(length=300, batch_size=20, seed=0, hidden_share=share)
    batch: Any = next(pretrain.OBJECTIVES["masked"].batches(texts, tokenizer, options))
    hidden = (batch.targets != IGNORE).sum() / (~torch.isin(batch.ids, torch.tensor(tokenizer.special_ids[PAD]))).sum()
    assert hidden.item() == pytest.approx(share, abs=0.05)


def test_two_processes_train_the_encoder_of_one(tmp_path: Path) -> None:
    """Rounding moves a tiny gradient, and AdamW enlarges it (2e-4 seen). A batch of others moves by its rate, 0.01."""
    options = ["storyworld_easy", "--objective", "masked", "--steps", "3", *SMALL, "--batch-size", "4"]
    main([*options, str(tmp_path / "one")])
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *torchrun, "-m", "course_lib.training.pretrain", *options, str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    one, two = (read_folder(tmp_path / name / "model")[0]["model.safetensors"] for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-3, rtol=0, msg=name)
