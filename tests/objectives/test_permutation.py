"""Orders, masks and the loss of XLNet: nothing that is predicted reads itself or what comes later; by hand."""

import itertools
import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.data.data_collator import DataCollatorForPermutationLanguageModeling

from course_lib.data.batches import IGNORE, EpochBatches, pad_batch
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.permutation import (
    PermutationBatch,
    order_mask,
    permutation_batch,
    permutation_loss,
    sample_orders,
)
from tests.elsewhere import Elsewhere
from tests.layers.helpers import assert_same, randn, randomized, seeded, unchecked

V, B, T = 11, 3, 12
IDS = torch.randint(V, (B, T), generator=seeded(7))
REAL = torch.arange(T) < torch.tensor([[T], [7], [1]])


def xlnet(**changes) -> XLNet:
    sizes = {"layers": 2, "heads": 2, "width": 8, "hidden": 6, "dropout": 0.0}
    return randomized(XLNet(XLNetConfig(V, **(sizes | changes)))).eval()


# --- orders and masks ------------------------------------------------------------------------------------------------


def test_all_orders_of_the_real_tokens_are_equally_likely_and_padding_comes_last():
    """6,000 draws of 6 orders: 1,000 each, with a standard deviation of 29."""
    orders = sample_orders((torch.arange(5) != 1).expand(6000, 5) & (torch.arange(5) != 4), seeded(0))
    assert {tuple(sorted(order)) for order in orders.tolist()} == {(0, 1, 2, 3, 4)}
    assert {tuple(sorted(order[3:])) for order in orders.tolist()} == {(1, 4)}
    counts = [
        sum(tuple(order[:3]) == wanted for order in orders.tolist()) for wanted in itertools.permutations([0, 2, 3])
    ]
    assert sum(counts) == 6000
    assert all(abs(count - 1000) < 120 for count in counts)


def test_a_mask_worked_out_by_hand():
    """Figure 1 (c) of the paper has the order 3 → 2 → 4 → 1; counted from 0 that is 2, 1, 3, 0."""
    orders = torch.tensor([[2, 1, 3, 0]] * 3)
    mask = order_mask(orders, torch.tensor([0, 2, 4]))
    assert mask.int().tolist() == [
        [[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0]],  # nothing is context
        [[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]],  # 2 and 1 are: they read each other
        [[1, 1, 1, 1]] * 4,  # all is
    ]


def test_the_mask_is_that_of_hugging_face_for_the_same_order():
    """Their order is hidden in their mask: of two targets, the later one reads more."""
    torch.manual_seed(0)
    tokenizer: Any = SimpleNamespace(mask_token="?", mask_token_id=V, pad_token="_", pad_token_id=V + 1)
    tokenizer.get_special_tokens_mask = lambda ids, **options: [0] * len(ids)
    collator = DataCollatorForPermutationLanguageModeling(tokenizer, plm_probability=0.5, max_span_length=3)
    _, hidden, _, labels = collator.torch_mask_tokens(IDS.clone())
    readable = hidden == 0
    ranks = torch.where(labels == IGNORE, -1, readable.sum(dim=-1))
    context = (labels == IGNORE).sum(dim=1)
    assert 1 < context.min() <= context.max() < T - 1
    assert torch.equal(order_mask(ranks.argsort(dim=1), context), readable)


def test_a_batch_worked_out_by_hand():
    """Of 12 tokens a sixth is 2, of 7 it is 1 (1.17), of 1 it would be none: one at least."""
    batch = permutation_batch(IDS, REAL, generator=seeded(3))
    orders = sample_orders(REAL, seeded(3)).tolist()
    assert batch.ids is IDS
    assert batch.queries.tolist()[0] == orders[0][10:]
    assert [row[-1] for row in batch.queries.tolist()[1:]] == [orders[1][6], 0]
    for b, (length, predicted) in enumerate([(12, 2), (7, 1), (1, 1)]):
        asked = orders[b][length - predicted : length]
        assert batch.targets[b].tolist() == [IGNORE] * (2 - predicted) + IDS[b, asked].tolist()
        for t, s in itertools.product(range(T), range(T)):
            context = orders[b][: length - predicted]
            expected = s in context or orders[b].index(s) < orders[b].index(t)
            assert batch.mask[b, t, s] == expected
            if t < length:
                assert expected <= bool(REAL[b, s])


@pytest.mark.parametrize(("share", "predicted"), [(1 / 6, 2), (0.01, 1), (0.5, 6), (0.7, 8), (1.0, 12)])
def test_the_share_says_how_many_are_predicted(share, predicted):
    batch = permutation_batch(IDS, share=share, generator=seeded(0))
    assert batch.queries.shape == batch.targets.shape == (B, predicted)
    assert_same(batch.targets, IDS.gather(1, batch.queries))
    for row in batch.queries.tolist():
        assert len(set(row)) == predicted


def test_each_position_is_predicted_equally_often():
    """3,000 rows of 12, two of each: 500 for each position, with a standard deviation of 20."""
    batch = permutation_batch(IDS[:1].expand(3000, T), generator=seeded(0))
    counts = batch.queries.flatten().bincount(minlength=T)
    assert counts.sum() == 6000
    assert (counts - 500).abs().max() < 90


def test_the_generator_alone_decides():
    first, again, later = (permutation_batch(IDS, REAL, generator=g) for g in (seeded(1), seeded(1), seeded(2)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.mask, later.mask)
    generator = seeded(1)
    permutation_batch(IDS, REAL, generator=generator)
    assert not torch.equal(permutation_batch(IDS, REAL, generator=generator).mask, first.mask)


def test_drawn_anew_each_time_by_a_source_that_can_be_resumed():
    texts = pad_batch([[3, 1, 4, 1, 5, 9], [2, 6, 5], [8, 9, 7, 9], [3]], pad_id=0)

    def source() -> Corrupted[PermutationBatch]:
        rows = EpochBatches(texts, 2, seed=0)
        return Corrupted(
            rows, lambda batch, g: permutation_batch(batch.ids, batch.mask, share=0.5, generator=g), seed=1
        )

    batches, again = source(), source()
    next(batches)
    again.load_state_dict(batches.state_dict())
    for _ in range(4):
        ours, theirs = next(batches), next(again)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert not (ours.targets == 0).any()  # which stands at padding alone
        assert not ours.mask[(ours.ids == 0)[:, None, :].expand_as(ours.mask) & (ours.ids != 0)[:, :, None]].any()


# --- with a model ----------------------------------------------------------------------------------------------------


def with_vectors(model: XLNet) -> list[Tensor]:
    """The vectors of the tokens, as leaves, of each call to come. (The embedding's weights are the head's, too.)"""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1]

    model.embedding.register_forward_hook(keep)
    return found


@pytest.mark.parametrize("share", [1 / 6, 0.5, 1.0])
@pytest.mark.parametrize("block", ["pre", "post"])
def test_a_prediction_has_a_gradient_to_all_tokens_before_it_in_the_order_and_to_no_other(block, share):
    model = xlnet(block=block)
    found = with_vectors(model)
    batch = permutation_batch(IDS, REAL, share=share, generator=seeded(5))
    orders = sample_orders(REAL, seeded(5)).tolist()
    logits = model(batch.ids, mask=batch.mask, queries=batch.queries)
    seen = 0
    for b, i in itertools.product(range(B), range(batch.queries.shape[1])):
        if batch.targets[b, i] == IGNORE:
            continue
        seen += 1
        [gradient] = torch.autograd.grad((logits[b, i] * randn(V)).sum(), found[0], retain_graph=True)
        before = orders[b][: orders[b].index(int(batch.queries[b, i]))]
        reached = [(c, t) for c, t in itertools.product(range(B), range(T)) if gradient[c, t].any()]
        assert reached == [(b, t) for t in sorted(before)]
    assert seen == {1 / 6: 4, 0.5: 11, 1.0: 20}[share]


def test_what_is_predicted_first_from_nothing_is_the_same_for_every_text():
    model = xlnet()
    batch = permutation_batch(IDS, share=1.0, generator=seeded(5))
    first = batch.queries[:, :1]
    logits, other = (model(ids, mask=batch.mask, queries=first) for ids in (batch.ids, (batch.ids + 1) % V))
    assert torch.equal(logits, other)


def test_the_loss_is_the_sum_over_targets_and_padding_changes_nothing():
    model, batch = xlnet(), permutation_batch(IDS, REAL, share=0.4, generator=seeded(2))
    total, targets = permutation_loss(model, batch)
    assert int(targets) == (batch.targets != IGNORE).sum() == 5 + 3 + 1
    nats = []
    for b, length in enumerate([T, 7, 1]):
        asked = batch.targets[b] != IGNORE
        ids, mask = batch.ids[b : b + 1, :length], batch.mask[b : b + 1, :length, :length]
        log_p = model(ids, mask=mask, queries=batch.queries[b : b + 1, asked]).log_softmax(dim=-1)[0]
        nats += [-log_p[i, target] for i, target in enumerate(batch.targets[b, asked])]
    assert_same(total, torch.stack(nats).sum())
    assert total.requires_grad


def test_in_every_order_the_chain_rule_gives_probabilities():
    """Of all texts with two tokens, in either order: P(x_0) P(x_1 given x_0) adds up to 1, and so does the other."""
    model = xlnet()
    texts = torch.tensor(list(itertools.product(range(V), repeat=2)))
    for order in ([0, 1], [1, 0]):
        orders = torch.tensor([order]).expand(len(texts), 2)
        mask = order_mask(orders, torch.zeros(len(texts), dtype=torch.long))
        log_p = model(texts, mask=mask, queries=orders).log_softmax(dim=-1)
        of_texts = log_p.gather(-1, texts.gather(1, orders)[:, :, None]).sum(dim=(1, 2)).exp()
        assert of_texts.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_it_learns():
    """Each text is one letter again and again. What is predicted from nothing costs log 2, the rest nothing."""
    torch.manual_seed(0)
    model = XLNet(XLNetConfig(2, layers=1, heads=2, width=16, dropout=0.0, block="pre"))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    ids, generator = torch.tensor([[0] * 4, [1] * 4]), seeded(0)
    for _ in range(60):
        total, targets = permutation_loss(model, permutation_batch(ids, share=1.0, generator=generator))
        optimiser.zero_grad()
        (total / targets).backward()
        optimiser.step()
    assert (total / targets).item() == pytest.approx(math.log(2) / 4, abs=0.05)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"ids": IDS.float()},
            TypeError,
            "ids must be a tensor of integers with shape (B, T), not a tensor of torch.f",
        ),
        ({"ids": IDS[0]}, TypeError, "ids must be a tensor of integers with shape (B, T), not a tensor of torch.int64"),
        ({"share": 0.0}, ValueError, "share is 0.0: it must be above 0 and at most 1, as 1/6"),
        ({"share": 1.1}, ValueError, "share is 1.1: it must be above 0 and at most 1, as 1/6"),
        ({"share": math.nan}, ValueError, "share is nan: it must be above 0"),
        (
            {"generator": 3},
            TypeError,
            "generator must be a torch.Generator, as torch.Generator().manual_seed(0), not 3",
        ),
        (
            {"real": REAL.long()},
            TypeError,
            "real must be a tensor of bool with shape (3, 12), not a tensor of torch.int6",
        ),
        (
            {"real": REAL[:, :3]},
            TypeError,
            "real must be a tensor of bool with shape (3, 12), not a tensor of torch.bool",
        ),
        ({"real": REAL & (torch.arange(B) != 1)[:, None]}, ValueError, "real is False in all of row 1: each row needs"),
    ],
)
def test_what_is_wrong_is_named(changes, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        permutation_batch(**({"ids": IDS, "generator": seeded(0)} | changes))


def test_a_batch_is_a_tuple_of_tensors_with_a_row_for_each_text():
    batch = permutation_batch(IDS, generator=seeded(0))
    assert isinstance(batch, PermutationBatch)
    assert {len(tensor) for tensor in batch} == {B}


def test_an_order_is_sorted_where_it_was_drawn_for_some_devices_know_no_float64():
    assert torch.equal(sample_orders(REAL.as_subclass(Elsewhere), seeded(3)), sample_orders(REAL, seeded(3)))
    with unchecked(), pytest.raises(TypeError, match=r"^generator must be a torch\.Generator, as .*, not None"):
        sample_orders(REAL, None)  # type: ignore[arg-type]
