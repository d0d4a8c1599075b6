"""Masked language modeling: what is hidden and what is never, how often, and the loss of Transformers' BERT."""

import itertools
import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertForMaskedLM, BertTokenizer, DataCollatorForLanguageModeling

from course_lib.data.batches import IGNORE, pad_batch, row_batches
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.objectives.masked import MaskedBatch, mask_tokens, masked_loss
from tests.layers.helpers import assert_same, randomized, seeded, unchecked, wrong
from tests.objectives.helpers import LikeOurs, V

PAD, CLS, SEP, MASK = 0, 5, 6, 22  # not side by side: a bound in place of a list would show
SPECIAL = (PAD, CLS, SEP)
ORDINARY = [i for i in range(V) if i not in (*SPECIAL, MASK)]


def masked(ids: Tensor, real: Tensor | None = None, *, seed: int = 0, **changes) -> MaskedBatch:
    arguments: dict[str, Any] = {
        "mask_id": MASK,
        "vocabulary": V,
        "special_ids": SPECIAL,
        "generator": seeded(seed),
    } | changes
    return mask_tokens(ids, real, **arguments)


def within_binomial_limits(count: int, of: int, share: float) -> bool:
    """5 standard deviations: by chance, once in two million."""
    return abs(count - of * share) <= 5 * math.sqrt(of * share * (1 - share))


@st.composite
def batches(draw):
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    numbers = draw(st.integers(0, 2**32))
    ids = torch.randint(V, (rows, length), generator=seeded(numbers))
    if draw(st.booleans()):
        ids = ids.to(draw(st.sampled_from([torch.uint8, torch.int16])))
    real = torch.rand(rows, length, generator=seeded(numbers + 1)) < draw(st.sampled_from([0.3, 0.8, 1.0]))
    words = (torch.rand(rows, length, generator=seeded(numbers + 2)) < 0.5).cumsum(dim=1) % 3
    return ids, real, words if draw(st.booleans()) else None


# --- what holds for every batch --------------------------------------------------------------------------------------


@given(batches(), st.floats(1e-6, 1), st.integers(0, 2**32))
@settings(deadline=None)
def test_only_ordinary_real_tokens_are_targets_and_nothing_else_changes(drawn, share, seed):
    ids, real, words = drawn
    before = ids.clone()
    with unchecked():  # the annotation names signed integers alone
        batch = masked(ids, real, share=share, word_ids=words, seed=seed)
    assert torch.equal(ids, before)
    assert torch.equal(batch.real, real)
    chosen = batch.targets != IGNORE
    can_be = real & torch.isin(ids.long(), torch.tensor(ORDINARY))
    assert not (chosen & ~can_be).any()
    assert torch.equal(batch.targets[chosen], ids[chosen].long())
    assert torch.equal(batch.ids[~chosen], ids[~chosen].long())
    assert torch.isin(batch.ids[chosen], torch.tensor([*ORDINARY, MASK])).all()
    assert torch.equal(chosen.any(dim=1), can_be.any(dim=1))


@given(batches(), st.floats(1e-6, 1), st.integers(0, 2**32))
@settings(deadline=None)
def test_words_are_chosen_whole(drawn, share, seed):
    ids, real, words = drawn
    if words is None:
        return
    with unchecked():
        chosen = masked(ids, real, share=share, word_ids=words, seed=seed).targets != IGNORE
    can_be = real & torch.isin(ids.long(), torch.tensor(ORDINARY))
    for row in range(len(ids)):
        for _, places in itertools.groupby(range(ids.shape[1]), lambda t: int(words[row, t])):  # noqa: B023
            ours = [bool(chosen[row, t]) for t in places if can_be[row, t]]
            assert len(set(ours)) <= 1


def test_the_same_generator_gives_the_same_and_another_seed_another():
    ids = torch.randint(V, (5, 40), generator=seeded(1))
    first, again, other = (masked(ids, seed=seed) for seed in (3, 3, 4))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first.targets, other.targets)


def test_one_generator_goes_on_from_batch_to_batch():
    ids, generator = torch.full((5, 40), ORDINARY[0]), seeded(0)
    first, second = (masked(ids, generator=generator) for _ in range(2))
    assert not torch.equal(first.targets, second.targets)


# --- how often -------------------------------------------------------------------------------------------------------

MANY = torch.randint(V, (400, 250), generator=seeded(7))
CAN_BE = torch.isin(MANY, torch.tensor(ORDINARY))


def test_of_the_chosen_tokens_80_percent_are_hidden_10_become_others_and_10_stay():
    """Of the random tenth, one in so many is by chance the token that stood there."""
    batch = masked(MANY)
    chosen = batch.targets != IGNORE
    count = int(chosen.sum())
    assert within_binomial_limits(count, int(CAN_BE.sum()), 0.15)
    shown, stood = batch.ids[chosen], batch.targets[chosen]
    assert within_binomial_limits(int((shown == MASK).sum()), count, 0.8)
    same = 1 / len(ORDINARY)
    assert within_binomial_limits(int((shown == stood).sum()), count, 0.1 + 0.1 * same)
    others = shown[(shown != MASK) & (shown != stood)]
    assert within_binomial_limits(len(others), count, 0.1 * (1 - same))
    for i in ORDINARY:  # each is as likely as the others
        assert within_binomial_limits(int((others == i).sum()), len(others), same)


def test_transformers_collator_chooses_and_hides_as_many():
    tokens = ["[PAD]", *"abcd", "[CLS]", "[SEP]", *"efghijklmnopqrs", "[MASK]"]
    tokenizer = BertTokenizer({token: i for i, token in enumerate([*tokens, "[UNK]"])})
    torch.manual_seed(0)
    shown, labels = DataCollatorForLanguageModeling(tokenizer, seed=None).torch_mask_tokens(
        MANY.clone(), special_tokens_mask=~CAN_BE
    )
    batch = masked(MANY)
    ours, theirs = batch.targets != IGNORE, labels != -100
    spread = math.sqrt(2 * 0.15 * 0.85 / int(CAN_BE.sum()))
    assert abs(ours[CAN_BE].double().mean() - theirs[CAN_BE].double().mean()) < 5 * spread
    hidden = (batch.ids == MASK)[ours].double().mean(), (shown == MASK)[theirs].double().mean()
    assert abs(hidden[0] - hidden[1]) < 5 * math.sqrt(2 * 0.8 * 0.2 / int(ours.sum()))


@pytest.mark.parametrize("words", [False, True])
def test_each_place_is_chosen_as_often_as_the_others(words):
    rows, length = 4000, 6
    ids = torch.full((rows, length), ORDINARY[0])
    word_ids = torch.tensor([0, 0, 1, 2, 2, 2]).expand(rows, length) if words else None
    chosen = masked(ids, word_ids=word_ids, share=1e-9).targets != IGNORE  # then each row gets its one
    if words:
        assert torch.equal(chosen[:, [0, 3, 3]], chosen[:, [1, 4, 5]])
        chosen = chosen[:, [0, 2, 3]]
    assert torch.equal(chosen.sum(dim=1), torch.ones(rows, dtype=torch.long))
    for count in chosen.sum(dim=0).tolist():
        assert within_binomial_limits(count, rows, 1 / chosen.shape[1])


@pytest.mark.parametrize("words", [False, True])
def test_tokens_and_words_are_chosen_each_for_itself(words):
    """Two neighbours are chosen both as often as chance says, and the row's other choices do not matter."""
    rows, share = 40_000, 0.3
    ids = torch.full((rows, 24), ORDINARY[0])
    word_ids = torch.arange(24).expand(rows, 24) // 2 if words else None
    chosen = masked(ids, word_ids=word_ids, share=share).targets != IGNORE
    first, second = (chosen[:, 0], chosen[:, 2]) if words else (chosen[:, 0], chosen[:, 1])
    assert within_binomial_limits(int(first.sum()), rows, share)
    assert within_binomial_limits(int((first & second).sum()), rows, share**2)


def test_the_tokens_of_a_hidden_word_are_hidden_each_for_itself():
    rows = 20_000
    ids = torch.full((rows, 2), ORDINARY[0])
    batch = masked(ids, word_ids=torch.zeros_like(ids), share=1.0)
    assert (batch.targets == ids).all()
    assert within_binomial_limits(int((batch.ids == MASK).all(dim=1).sum()), rows, 0.8**2)


def test_a_share_of_1_chooses_all():
    batch = masked(MANY[:3], share=1.0)
    assert torch.equal(batch.targets != IGNORE, CAN_BE[:3])


def test_words_with_one_number_are_two_words_where_another_stands_between_them():
    """As in a pair of texts, whose words are both counted from 0."""
    ids = torch.full((2000, 3), ORDINARY[0])
    chosen = masked(ids, word_ids=torch.tensor([0, -1, 0]).expand(2000, 3), share=0.5).targets != IGNORE
    assert (chosen[:, 0] != chosen[:, 2]).any()


# --- the loss --------------------------------------------------------------------------------------------------------

TEXTS = [[CLS, 3, 1, 4, 1, SEP], [CLS, 9, SEP], [CLS, 2, 7, 1, 8, 2, 8, SEP]]


def test_the_loss_is_that_of_bert_for_masked_language_modeling():
    model = LikeOurs(BertForMaskedLM)
    padded = pad_batch(TEXTS, PAD)
    batch = masked(padded.ids, padded.mask, share=0.5)
    total, targets = masked_loss(model, batch)
    expected = model.outputs(batch.ids, batch.real, labels=batch.targets).loss
    assert_same(total / targets, expected)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(total / targets, parameters, allow_unused=True)
    theirs = torch.autograd.grad(expected, parameters, allow_unused=True)
    assert sum(gradient is not None for gradient in theirs) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert_same(one, other, atol=1e-10)


@pytest.mark.parametrize("library", ["Transformers", "ours"])
def test_the_loss_of_a_batch_is_that_of_each_row_alone(library):
    config = BERTConfig(V, context=11, layers=2, heads=3, width=12, hidden=7)
    model = LikeOurs(BertForMaskedLM) if library == "Transformers" else randomized(BERT(config)).eval()
    padded = pad_batch(TEXTS, PAD)
    batch = masked(padded.ids, padded.mask, share=0.5)
    total, targets = masked_loss(model, batch)
    alone = [
        masked_loss(model, MaskedBatch(*(tensor[:, : len(text)] for tensor in row)))
        for text, row in zip(TEXTS, row_batches(batch, 1), strict=True)
    ]
    assert_same(total, torch.stack([loss.total for loss in alone]).sum())
    assert int(targets) == sum(int(loss.targets) for loss in alone) >= len(TEXTS)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ids": torch.tensor([1, 2])}, TypeError, "ids must be a tensor of integers, (B, T), not a tensor of"),
        ({"ids": torch.ones(2, 3)}, TypeError, "not a tensor of torch.float32 with shape (2, 3)"),
        ({"ids": torch.tensor([[1, V]])}, ValueError, "ids hold 23: the ids of this vocabulary are 0 to 22"),
        ({"ids": torch.tensor([[-1, 3]])}, ValueError, "ids hold -1: the ids"),
        ({"real": torch.ones(1, 3, dtype=torch.bool)}, ValueError, "real has shape (1, 3): it must have that of ids"),
        (
            {"real": torch.ones(1, 2, dtype=torch.long)},
            TypeError,
            "real must be a tensor of bool, not a tensor of torch.int64 with shape (1, 2): attention_mask.bool()",
        ),
        (
            {"generator": None},
            TypeError,
            "generator must be a torch.Generator, as torch.Generator().manual_seed(0), not",
        ),
        ({"word_ids": torch.ones(2, 2, dtype=torch.long)}, ValueError, "word_ids has shape (2, 2): it must have that"),
        ({"share": 0.0}, ValueError, "share is 0.0: it must be more than 0, and at most 1"),
        ({"share": 15}, ValueError, "share is 15: it must be more than 0, and at most 1"),
        ({"mask_id": V}, ValueError, "mask_id has 23: the ids of this vocabulary are 0 to 22"),
        ({"mask_id": "[MASK]"}, TypeError, "mask_id must be of integers, not '[MASK]'"),
        ({"special_ids": [0, -1]}, ValueError, "special_ids has -1: the ids"),
        ({"special_ids": ["[PAD]"]}, TypeError, "special_ids must be of integers, not '[PAD]'"),
        ({"special_ids": range(V)}, ValueError, "special_ids are all 23 ids: there is no token left to hide"),
        ({"vocabulary": 0}, ValueError, "vocabulary is 0: it must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(changes, error, message):
    arguments = {"ids": torch.tensor([[1, 2]])} | changes
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        masked(**wrong(arguments))
