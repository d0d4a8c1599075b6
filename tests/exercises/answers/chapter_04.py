"""Answers to the exercises of chapter 04, right and wrong, as learners write them."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.layers.norms import rms_norm
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.using.generation import translate

# --- gemma_norm -------------------------------------------------------------------------------------------------------


def norm_by_loop(x, weight, eps):
    out = torch.zeros(x.shape, dtype=torch.float64)
    for place in np.ndindex(*x.shape[:-1]):
        numbers = x[place].double().tolist()
        size = math.sqrt(sum(number * number for number in numbers) / len(numbers) + eps)
        out[place] = torch.tensor(numbers).double() / size * (weight.double() + 1)
    return out.to(x.dtype)


def norm_by_pytorch(x, weight, eps):
    return F.rms_norm(x.float(), weight.shape, 1 + weight.float(), eps).to(x.dtype)


def norm_by_library(x, weight, eps):
    return rms_norm(x, weight.float() + 1, eps=eps)


def norm_by_length(x, weight, eps):
    """The length of a vector is the root of a sum."""
    y = x.float()
    length = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    y = y * torch.rsqrt(length**2 / x.size(-1) + eps)
    return (y + y * weight).type_as(x)


def norm_of_llama(x, weight, eps):
    y = x.float()
    return weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).type_as(x)


def norm_without_weight(x, weight, eps):
    return x * torch.rsqrt(torch.mean(x * x, dim=-1, keepdim=True) + eps)


def norm_precedence(x, weight, eps):
    return x * torch.rsqrt(torch.mean(x * x, dim=-1, keepdim=True) + eps) * 1 + weight


def norm_one_later(x, weight, eps):
    return 1 + weight * x * torch.rsqrt(torch.mean(x * x, dim=-1, keepdim=True) + eps)


def norm_of_gpt2(x, weight, eps):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (1 + weight) * (x - mean) / torch.sqrt(var + eps)


def norm_by_std(x, weight, eps):
    var = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
    return (1 + weight) * x / (var + eps) ** 0.5


def norm_by_torch_var(x, weight, eps):
    return (1 + weight) * x * torch.rsqrt(torch.var(x, -1, keepdim=True) + eps)


def norm_unrooted(x, weight, eps):
    return (1 + weight) * x / (x.pow(2).mean(-1, keepdim=True) + eps)


def norm_by_sum(x, weight, eps):
    return (1 + weight) * x / torch.sqrt((x * x).sum(-1, keepdim=True) + eps)


def norm_by_absolute(x, weight, eps):
    return x / (torch.abs(x).mean(-1, keepdim=True) + eps) * (1 + weight)


def norm_without_eps(x, weight, eps):
    return x / x.pow(2).mean(-1, keepdim=True).sqrt() * (1 + weight)


def norm_eps_outside(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps) * (1 + weight)


def norm_of_everything(x, weight, eps):
    return x / torch.sqrt(torch.mean(x**2) + eps) * (1 + weight)


def norm_over_tokens(x, weight, eps):
    return x / torch.sqrt(torch.mean(x**2, dim=-2, keepdim=True) + eps) * (1 + weight)


def norm_over_rows(x, weight, eps):
    return x / torch.sqrt(torch.mean(x**2, dim=0, keepdim=True) + eps) * (1 + weight)


def norm_multiplied(x, weight, eps):
    return x * (x.pow(2).mean(-1, keepdim=True) + eps) ** 0.5 * (1 + weight)


def norm_in_half(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * (1 + weight)


def norm_left_in_float32(x, weight, eps):
    return norm_by_pytorch(x.float(), weight.float(), eps)


# --- count_parameters -------------------------------------------------------------------------------------------------


def count_line_by_line(vocabulary, layers, width, hidden, pre_norm):
    V, L, D, F = vocabulary, layers, width, hidden
    attention = 4 * (D * D + D)
    feedforward = D * F + F + F * D + D
    total = V * D
    for _ in range(L):
        total += attention + 2 * D + feedforward + 2 * D
        total += attention + 2 * D + attention + 2 * D + feedforward + 2 * D
    if pre_norm:
        total += 2 * D + 2 * D
    return total


def count_by_formula(vocabulary, layers, width, hidden, pre_norm):
    norms = 5 * layers + 2 * bool(pre_norm)
    layer = 12 * width**2 + 4 * width * hidden + 14 * width + 2 * hidden
    return float(vocabulary * width + layers * layer + norms * 2 * width)


def count_shapes(vocabulary, layers, width, hidden, pre_norm):
    """By listing all weights."""
    square, vector = [(width, width), (width,)] * 4, (width,)
    feedforward = [(hidden, width), (hidden,), (width, hidden), vector]
    encoder = [*square, *feedforward, *[vector] * 4]
    decoder = [*square, *square, *feedforward, *[vector] * 6]
    shapes = [(vocabulary, width), *(encoder + decoder) * layers, *[vector] * (4 if pre_norm else 0)]
    return int(sum(np.prod(shape) for shape in shapes))


def count_pytorch(vocabulary, layers, width, hidden, pre_norm):
    """PyTorch's own Transformer has the same layers."""
    last = {"custom_encoder": nn.Identity(), "custom_decoder": nn.Identity()}
    parts = [
        *(nn.TransformerEncoderLayer(width, 1, hidden) for _ in range(layers)),
        *(nn.TransformerDecoderLayer(width, 1, hidden) for _ in range(layers)),
        nn.Embedding(vocabulary, width),
        *(nn.LayerNorm(width) for _ in last if pre_norm),
    ]
    return sum(weight.numel() for part in parts for weight in part.parameters())


def count_with_library(vocabulary, layers, width, hidden, pre_norm):
    block = "pre" if pre_norm else "post"
    config = TransformerConfig(vocabulary, layers=layers, heads=1, width=width, hidden=hidden, block=block)
    return sum(weight.numel() for weight in Transformer(config).parameters())


def counting(
    attention_bias=4, feedforward_biases=(1, 1), norm=2, tables=1, cross=1, cross_norm=1, last=2, matrices=(4, 2)
):
    """A learner's count, careless in one way or another."""

    def count(vocabulary, layers, width, hidden, pre_norm):
        attention = matrices[0] * width**2 + attention_bias * width
        feedforward = matrices[1] * width * hidden + feedforward_biases[0] * hidden + feedforward_biases[1] * width
        encoder = attention + feedforward + 2 * norm * width
        decoder = encoder + cross * attention + cross_norm * norm * width
        total = tables * vocabulary * width + layers * (encoder + decoder)
        return total + (last * norm * width if pre_norm or last > 2 else 0)

    return count


def count_with_last_norms_always(vocabulary, layers, width, hidden, pre_norm):
    return counting()(vocabulary, layers, width, hidden, True)


def count_encoder(vocabulary, layers, width, hidden, pre_norm):
    total = vocabulary * width
    for _ in range(layers):
        total += 4 * width**2 + 4 * width + 2 * width * hidden + width + hidden + 4 * width
    return total


def count_two_encoders_with_cross(vocabulary, layers, width, hidden, pre_norm):
    layer = 8 * width**2 + 8 * width + 2 * width * hidden + width + hidden + 6 * width
    return vocabulary * width + 2 * layers * layer


def count_one_norm(vocabulary, layers, width, hidden, pre_norm):
    attention, feedforward = 4 * width**2 + 4 * width, 2 * width * hidden + width + hidden
    return vocabulary * width + layers * (3 * attention + 2 * feedforward + 2 * 2 * width)


# --- decoder_layer ----------------------------------------------------------------------------------------------------


def layer_line_by_line(x, memory, attention, cross, feedforward, norms, dropout):
    y = norms[0](x)
    y = attention(y)
    x = x + dropout(y)
    y = norms[1](x)
    y = cross(y, memory)
    x = x + dropout(y)
    y = norms[2](x)
    y = feedforward(y)
    return x + dropout(y)


def layer_by_loop(x, memory, attention, cross, feedforward, norms, dropout):
    for norm, sublayer in zip(norms, (attention, lambda y: cross(y, memory), feedforward), strict=True):
        x = dropout(sublayer(norm(x))) + x
    return x


def layer_by_sum(x, memory, attention, cross, feedforward, norms, dropout):
    """Everything that was added so far is kept in a list."""
    line = [x]
    line.append(dropout(attention(norms[0](sum(line)))))
    line.append(dropout(cross(norms[1](sum(line)), memory)))
    line.append(dropout(feedforward(norms[2](sum(line)))))
    return torch.stack(line).sum(dim=0)


def layer_as_module(x, memory, attention, cross, feedforward, norms, dropout):
    class Layer(nn.Module):
        def residual(self, x, norm, sublayer, *more):
            return x + dropout(sublayer(norm(x), *more))

        def forward(self, x, memory):
            x = self.residual(x, norms[0], attention)
            x = self.residual(x, norms[1], cross, memory)
            return self.residual(x, norms[2], feedforward)

    return Layer()(x, memory)


def layer_of_2017(x, memory, attention, cross, feedforward, norms, dropout):
    x = norms[0](x + dropout(attention(x)))
    x = norms[1](x + dropout(cross(x, memory)))
    return norms[2](x + dropout(feedforward(x)))


def layer_overwritten(x, memory, attention, cross, feedforward, norms, dropout):
    x = norms[0](x)
    x = x + dropout(attention(x))
    x = norms[1](x)
    x = x + dropout(cross(x, memory))
    x = norms[2](x)
    return x + dropout(feedforward(x))


def layer_normed_after(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(norms[0](attention(x)))
    x = x + dropout(norms[1](cross(x, memory)))
    return x + dropout(norms[2](feedforward(x)))


def layer_normed_twice(x, memory, attention, cross, feedforward, norms, dropout):
    x = norms[0](x + dropout(attention(norms[0](x))))
    x = norms[1](x + dropout(cross(norms[1](x), memory)))
    return norms[2](x + dropout(feedforward(norms[2](x))))


def layer_without_norms(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(attention(x))
    x = x + dropout(cross(x, memory))
    return x + dropout(feedforward(x))


def layer_without_line(x, memory, attention, cross, feedforward, norms, dropout):
    x = dropout(attention(norms[0](x)))
    x = dropout(cross(norms[1](x), memory))
    return dropout(feedforward(norms[2](x)))


def layer_memory_replaces(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(attention(norms[0](x)))
    x = dropout(cross(norms[1](x), memory))
    return x + dropout(feedforward(norms[2](x)))


def layer_added_once(x, memory, attention, cross, feedforward, norms, dropout):
    y = dropout(attention(norms[0](x)))
    y = dropout(cross(norms[1](y), memory))
    y = dropout(feedforward(norms[2](y)))
    return x + y


def layer_parallel(x, memory, attention, cross, feedforward, norms, dropout):
    a, c, f = attention(norms[0](x)), cross(norms[1](x), memory), feedforward(norms[2](x))
    return x + dropout(a) + dropout(c) + dropout(f)


def layer_one_norm(x, memory, attention, cross, feedforward, norms, dropout):
    norm = norms[0]
    x = x + dropout(attention(norm(x)))
    x = x + dropout(cross(norm(x), memory))
    return x + dropout(feedforward(norm(x)))


def in_order(names, places):
    """The sublayers in an order of the learner's own, each with the norm of some place."""

    def layer(x, memory, attention, cross, feedforward, norms, dropout):
        for name, place in zip(names, places, strict=True):
            y = norms[place](x)
            y = attention(y) if name == "self" else feedforward(y) if name == "work" else cross(y, memory)
            x = x + dropout(y)
        return x

    return layer


def layer_memory_too(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(attention(norms[0](x)))
    x = x + dropout(cross(norms[1](x), norms[1](memory)))
    return x + dropout(feedforward(norms[2](x)))


def layer_cross_of_itself(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(attention(norms[0](x)))
    y = norms[1](x)
    x = x + dropout(cross(y, y))
    return x + dropout(feedforward(norms[2](x)))


def layer_cross_turned_round(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + dropout(attention(norms[0](x)))
    x = x + dropout(cross(memory, norms[1](x)))
    return x + dropout(feedforward(norms[2](x)))


def layer_without_dropout(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + attention(norms[0](x))
    x = x + cross(norms[1](x), memory)
    return x + feedforward(norms[2](x))


def layer_dropout_around(x, memory, attention, cross, feedforward, norms, dropout):
    x = dropout(x + attention(norms[0](x)))
    x = dropout(x + cross(norms[1](x), memory))
    return dropout(x + feedforward(norms[2](x)))


def layer_dropout_early(x, memory, attention, cross, feedforward, norms, dropout):
    x = x + attention(dropout(norms[0](x)))
    x = x + cross(dropout(norms[1](x)), memory)
    return x + feedforward(dropout(norms[2](x)))


# --- teacher_forcing --------------------------------------------------------------------------------------------------


def forcing_by_place(texts, begin, end, pad):
    width = max(len(text) for text in texts) + 1
    inputs = torch.full((len(texts), width), pad)
    labels = torch.full((len(texts), width), -100)
    for b, text in enumerate(texts):
        row = torch.tensor([begin, *text, end])
        inputs[b, : len(text) + 1] = row[:-1]
        labels[b, : len(text) + 1] = row[1:]
    return inputs, labels


def forcing_by_lists(texts, begin, end, pad):
    inputs, labels = [], []
    longest = len(max(texts, key=len))
    for text in texts:
        room = longest - len(text)
        inputs.append([begin] + list(text) + [pad] * room)
        labels.append(list(text) + [end] + [-100] * room)
    return [torch.tensor(inputs), torch.tensor(labels)]


def forcing_by_mask(texts, begin, end, pad):
    lengths = torch.tensor([len(text) for text in texts])
    rows = nn.utils.rnn.pad_sequence([torch.tensor([begin, *text, end]) for text in texts], True, pad)
    t = torch.arange(rows.shape[1])
    inputs = torch.where(t > lengths[:, None], pad, rows)[:, :-1]
    labels = torch.where(t > lengths[:, None] + 1, -100, rows)[:, 1:]
    return inputs.int(), labels


def forcing_with(inputs, labels, fill_inputs="pad", fill_labels=-100):
    """Rows of the learner's own, filled up with zip_longest."""

    def force(texts, begin, end, pad):
        def filled(rows, fill):
            width = max(len(row) for row in rows)
            return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

        names = {"pad": pad, "end": end, -100: -100}
        return (
            filled([inputs(text, begin, end) for text in texts], names[fill_inputs]),
            filled([labels(text, begin, end) for text in texts], names[fill_labels]),
        )

    return force


def with_begin(text, begin, end):
    return [begin, *text]


def with_end(text, begin, end):
    return [*text, end]


def with_both(text, begin, end):
    return [begin, *text, end]


def with_ignored_begin(text, begin, end):
    return [-100, *text, end]


def with_neither(text, begin, end):
    return list(text)


def forcing_without_last_label(texts, begin, end, pad):
    inputs, labels = forcing_by_place(texts, begin, end, pad)
    for b, text in enumerate(texts):
        labels[b, len(text)] = -100
    return inputs, labels


def forcing_from_labels(texts, begin, end, pad):
    _, labels = forcing_by_place(texts, begin, end, pad)
    inputs = labels.roll(1, dims=1)
    inputs[:, 0] = begin
    return inputs, labels


def forcing_one_row(texts, begin, end, pad):
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor([begin, *text, end]) for text in texts], True, pad)
    labels = rows[:, 1:].clone()
    for b, text in enumerate(texts):
        labels[b, len(text) + 1 :] = -100
    return rows[:, :-1], labels


def forcing_swapped_tokens(texts, begin, end, pad):
    return forcing_by_lists(texts, end, begin, pad)


def forcing_swapped(texts, begin, end, pad):
    labels, inputs = forcing_by_lists(texts, begin, end, pad)
    return inputs, labels


def forcing_left(texts, begin, end, pad):
    inputs, labels = forcing_by_lists(texts, begin, end, pad)
    for b, text in enumerate(texts):
        room = inputs.shape[1] - 1 - len(text)
        inputs[b], labels[b] = inputs[b].roll(room), labels[b].roll(room)
    return inputs, labels


def forcing_ignores_value(texts, begin, end, pad):
    inputs = torch.tensor(forcing_by_lists(texts, begin, end, pad)[0].tolist())
    labels = nn.utils.rnn.pad_sequence([torch.tensor([*text, end]) for text in texts], True, pad)
    labels[labels == pad] = -100
    return inputs, labels


def forcing_ignores_value_of_input(texts, begin, end, pad):
    inputs = forcing_by_place(texts, begin, end, pad)[0]
    labels = nn.utils.rnn.pad_sequence([torch.tensor([*text, end]) for text in texts], True, pad)
    return inputs, torch.where(inputs == pad, -100, labels)


def forcing_labels_only(texts, begin, end, pad):
    return forcing_by_place(texts, begin, end, pad)[1]


# --- translate_batch --------------------------------------------------------------------------------------------------


def translate_one_by_one(model, source, source_real, begin, end, most):
    """Each alone, without its padding."""
    texts = []
    for ids, real in zip(source, source_real, strict=True):
        memory = model.encode(ids[real][None])
        text = [begin]
        while len(text) <= most:
            token = int(model.decode(torch.tensor([text]), memory)[0, -1].argmax())
            if token == end:
                break
            text.append(token)
        texts.append(text[1:])
    return texts


def translate_to_the_end(model, source, source_real, begin, end, most):
    """As many steps as allowed, whatever has ended, and with the whole model each time."""
    target = torch.tensor([[begin]] * len(source))
    for _ in range(most):
        best = model(source, target, source_real)[:, -1].max(dim=-1).indices
        target = torch.cat([target, best.unsqueeze(1)], dim=1)
    texts: list[list[int]] = []
    for row in target[:, 1:].tolist():
        texts.append([])
        for token in row:
            if token == end:
                break
            texts[-1].append(token)
    return texts


def translate_with_cache(model, source, source_real, begin, end, most):
    """What has ended is filled with ends."""
    memory, caches = model.encode(source, source_real), model.new_caches()
    last, ended = torch.full((len(source), 1), begin), torch.zeros(len(source), 1).bool()
    columns: list[torch.Tensor] = []
    while len(columns) < most and not ended.all():
        last = model.decode(last, memory, source_real, caches)[:, -1:].argmax(-1).masked_fill(ended, end)
        ended |= last == end
        columns.append(last)
    return [[token for token in row if token != end] for row in torch.cat(columns, dim=1).tolist()]


def translate_with_library(model, source, source_real, begin, end, most):
    return translate(model, source, source_real, begin_id=begin, end_id=end, max_tokens=most)


def translating(encode="real", decode="real", stop="all", cut="end", memory="as it is", steps=0):
    """The colleague's function, repaired in some places only."""

    def translations(model, source, source_real, begin, end, most):
        seen = {"real": source_real, "everything": None, "padding": source_real.logical_not()}
        kept = model.encode(source, seen[encode])
        if memory == "zeroed":
            kept = kept.masked_fill(~source_real.unsqueeze(-1), 0.0)
        target = torch.full((len(source), 1), begin)
        for _ in range(most + steps):
            logits = model.decode(target, kept, seen[decode])
            target = torch.cat([target, logits[:, -1:].argmax(dim=-1)], dim=1)
            if stop == "any" and (target[:, -1] == end).any():
                break
            if stop == "all" and (target == end).any(dim=1).all():
                break
        rows = target[:, 1:].tolist()
        if cut == "after end":
            return [row[: row.index(end) + 1] if end in row else row for row in rows]
        if cut == "ends only":
            return [[token for token in row if token != end] for row in rows]
        rows = [row[: row.index(end)] if end in row else row for row in rows]
        return [[begin, *row] for row in rows] if cut == "with begin" else rows

    return translations


def translate_and_look_for_an_end(model, source, source_real, begin, end, most):
    return [row[: row.index(end)] for row in translate_to_the_end(model, source, source_real, begin, end, most)]


# --- judge_translator -------------------------------------------------------------------------------------------------


def sentence(*size):
    return torch.randint(3, 20, size)


def same(a, b, tolerance=1e-4):
    return bool(torch.allclose(a, b, atol=tolerance, rtol=tolerance))


def judging(
    future="last",
    compared="all before",
    padding="more, and others",
    neighbours=True,
    source_matters=True,
    past_matters=True,
    tolerance=1e-4,
    exact=False,
    padding_tolerance=1e-4,
    seeded=False,
):
    """A learner's test, careless in one way or another."""

    def judge(somebodys):
        def logits_of(*ids):
            if seeded:
                torch.manual_seed(0)
            return somebodys(*ids)

        source, target = sentence(3, 7), sentence(3, 6)
        target[:, 0] = 1
        real = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
        source = torch.where(real, source, 0)
        before = logits_of(source, target, real)

        def equal(a, b, tolerance=tolerance):
            return torch.equal(a, b) if exact else same(a, b, tolerance)

        if future:
            changed = target.clone()
            changed[:, -1] = (changed[:, -1] - 2) % 17 + 3
            after = logits_of(source, changed, real)
            before_it = slice(None, -1) if compared == "all before" else slice(None, 1)
            assert equal(after[:, before_it], before[:, before_it])
        if "more" in padding:
            wider = F.pad(source, (0, 3)), target, F.pad(real, (0, 3))
            assert equal(logits_of(*wider), before, padding_tolerance), "more padding"
        if "others" in padding:
            others = torch.where(real, source, 5)
            assert equal(logits_of(others, target, real), before, padding_tolerance), "other padding"
        if neighbours == "changed":
            changed = torch.cat([source[:1], (source[1:] + 5) % 17 + 3])
            assert equal(logits_of(changed, target, real)[0], before[0])
        elif neighbours:
            for b in range(3):
                assert equal(logits_of(source[b : b + 1], target[b : b + 1], real[b : b + 1])[0], before[b])
        if source_matters:
            assert not same(logits_of(torch.where(real, source - 3, 0), target, real), before)
        if past_matters:
            changed = target.clone()
            changed[:, 1] = (changed[:, 1] - 2) % 17 + 3
            assert not same(logits_of(source, changed, real)[:, 2:], before[:, 2:])

    return judge


def judge_alone(logits_of):
    """One sentence alone against itself in a batch with padding, and prefixes against the whole: returns a bool."""
    sources, targets = [sentence(n) for n in (2, 5, 9)], [torch.tensor([1, *sentence(4).tolist()]) for _ in range(3)]
    real = torch.nn.utils.rnn.pad_sequence([torch.ones(len(s), dtype=torch.bool) for s in sources], True)
    padded = torch.nn.utils.rnn.pad_sequence(sources, True)
    whole = logits_of(padded, torch.stack(targets), real)
    if same(whole[0, 4], whole[1, 4], 1e-3):
        return False
    for b, (source, target) in enumerate(zip(sources, targets, strict=True)):
        for length in range(1, 6):
            alone = logits_of(source[None], target[None, :length], torch.ones(1, len(source)).bool())
            if not np.allclose(alone[0].numpy(), whole[b, :length].numpy(), atol=1e-3):
                return False
    changed = torch.stack(targets).index_fill(1, torch.tensor([1]), 4).index_fill(1, torch.tensor([2]), 9)
    flipped = logits_of(padded, changed, real)
    other = logits_of(padded.clamp(min=3).flip(1), torch.stack(targets), torch.ones_like(real))
    return not same(flipped[:, 3:], whole[:, 3:]) and not same(other, whole)


def judge_nothing(logits_of):
    logits_of(sentence(2, 5), sentence(2, 3), torch.ones(2, 5).bool())


def judge_shapes(logits_of):
    assert logits_of(sentence(2, 5), sentence(2, 3), torch.ones(2, 5).bool()).shape == (2, 3, 20)


def judge_against_one(logits_of):
    """Right numbers are no law: each model has its own."""
    logits = logits_of(sentence(2, 5), sentence(2, 3), torch.ones(2, 5).bool())
    assert logits.softmax(dim=-1).max() < 0.01


def judge_with_a_slip(logits_of):
    logits = logits_of(sentence(2, 5), sentence(2, 3), torch.ones(2, 5).bool())
    assert same(logits[:, :3], logits[:, :2])


def judge_padded_in_front(logits_of):
    """Padding in front moves all words to other positions: that may change something."""
    source, target = sentence(2, 5), sentence(2, 4)
    real = torch.ones(2, 5).bool()
    moved = logits_of(F.pad(source, (2, 0)), target, F.pad(real, (2, 0)))
    assert same(moved, logits_of(source, target, real))


# --- beam_search ------------------------------------------------------------------------------------------------------


def beam_with_tuples(table, begin, end, beams, most):
    alive = [([begin], 0.0)]
    done: list[tuple[list[int], float]] = []
    for _ in range(most):
        grown = []
        for ids, score in alive:
            for token, log_p in enumerate(table[ids[-1]].tolist()):
                grown.append(([*ids, token], score + log_p))
        grown.sort(key=lambda pair: pair[1], reverse=True)
        alive = []
        for ids, score in grown[:beams]:
            (done if ids[-1] == end else alive).append((ids, score))
        if not alive:
            break
    ids, _ = max(done + alive, key=lambda pair: pair[1] / (len(pair[0]) - 1))
    return ids[1:-1] if ids[-1] == end else ids[1:]


def beam_with_topk(table, begin, end, beams, most):
    texts, totals = torch.full((1, 1), begin), torch.zeros(1, dtype=table.dtype)
    found = []
    for length in range(1, most + 1):
        scores = (totals[:, None] + table[texts[:, -1]]).flatten()
        totals, index = scores.topk(min(beams, len(scores)))
        texts = torch.cat([texts[index // len(table)], (index % len(table))[:, None]], dim=1)
        over = (texts[:, -1] == end) | (length == most)
        found += [(float(total) / length, text.tolist()) for total, text in zip(totals[over], texts[over], strict=True)]
        texts, totals = texts[~over], totals[~over]
        if len(texts) == 0:
            break
    return [token for token in max(found)[1][1:] if token != end]


def beam_with_probabilities(table, begin, end, beams, most):
    """Products of probabilities, and the geometric mean: the same order. With a heap, and recursion."""
    import heapq

    p = table.exp()

    def longer(alive, left):
        if not left or not alive:
            return alive
        grown = [(prob * float(p[ids[-1], t]), (*ids, t)) for prob, ids in alive for t in range(p.shape[1])]
        best = heapq.nlargest(beams, grown)
        return [x for x in best if x[1][-1] == end] + longer([x for x in best if x[1][-1] != end], left - 1)

    winner = max(longer([(1.0, (begin,))], most), key=lambda x: x[0] ** (1 / (len(x[1]) - 1)))[1]
    return list(winner[1 : -1 if winner[-1] == end else None])


def beaming(
    beams_used=None,
    rank="mean",
    score="log",
    after_end="aside",
    each=None,
    chosen="all",
    stop=99,
    text="bare",
    ends_from="best",
    open_from="best",
):
    """A learner's beam search, careless in one way or another."""

    def search(table, begin, end, beams, most):
        beams = beams_used or beams
        width, alive = beams, [(0.0, (begin,))]
        finished: list[Any] = []
        for step in range(most):
            grown = list(finished) if after_end == "compete" else []
            for total, ids in alive:
                values, tokens = table[ids[-1]].sort(descending=True)
                if each and step:
                    values, tokens = values[:each], tokens[:each]
                for value, token in zip(values.tolist(), tokens.tolist(), strict=True):
                    new = {"log": total + value, "p": total + math.exp(value), "last": value}[score]
                    grown.append((new, (*ids, token)))
            grown.sort(key=lambda pair: -pair[0])
            some = {"best": grown[:width], "all": grown}
            if after_end == "go on":
                alive = some["best"]
                continue
            ended = [pair for pair in some[ends_from] if pair[1][-1] == end]
            alive = [pair for pair in some[open_from] if pair[1][-1] != end][:width]
            finished = ended if after_end == "compete" else finished + ended
            width -= len(ended) if after_end == "shrink" else 0
            if not alive or len(finished) >= (beams if stop == "beams" else stop) or width == 0:
                break
        pool = {"all": finished + alive, "finished": finished or alive, "alive": alive or finished}[chosen]
        ranks = {
            "mean": lambda total, ids: total / (len(ids) - 1),
            "sum": lambda total, ids: total,
            "with begin": lambda total, ids: total / len(ids),
            "without end": lambda total, ids: total / max(1, len(ids) - 1 - (ids[-1] == end)),
            "p": lambda total, ids: math.exp(total) / (len(ids) - 1),
        }
        best = list(max(pool, key=lambda pair: ranks[rank](*pair))[1])
        if text == "with end":
            return best[1:]
        best = best[: best.index(end)] if end in best else best
        return best if text == "with begin" else best[1:]

    return search


RIGHT = {
    "gemma_norm": [
        ("loops in float64", norm_by_loop),
        ("PyTorch's own", norm_by_pytorch),
        ("the library's, with another weight", norm_by_library),
        ("by the length of the vector", norm_by_length),
    ],
    "count_parameters": [
        ("line by line", count_line_by_line),
        ("one formula, a float", count_by_formula),
        ("a list of shapes", count_shapes),
        ("PyTorch's own layers", count_pytorch),
    ],
    "decoder_layer": [
        ("line by line", layer_line_by_line),
        ("a loop", layer_by_loop),
        ("a list of all that is added", layer_by_sum),
        ("a module", layer_as_module),
    ],
    "teacher_forcing": [
        ("by place", forcing_by_place),
        ("lists", forcing_by_lists),
        ("masks, int32", forcing_by_mask),
    ],
    "translate_batch": [
        ("one by one", translate_one_by_one),
        ("to the end, with the whole model", translate_to_the_end),
        ("with a cache", translate_with_cache),
        ("the colleague's, repaired", translating()),
    ],
    "judge_translator": [
        ("all laws", judging()),
        ("all laws, exactly", judging(exact=True)),
        ("each alone, prefixes, returns True or False", judge_alone),
    ],
    "beam_search": [
        ("tuples", beam_with_tuples),
        ("topk", beam_with_topk),
        ("products of probabilities", beam_with_probabilities),
    ],
}

WRONG = {
    "gemma_norm": [
        ("weight_alone", norm_of_llama),
        ("weight_left_out", norm_without_weight),
        ("parentheses_missing", norm_precedence),
        ("one_added_at_the_end", norm_one_later),
        ("layer_norm", norm_of_gpt2),
        ("divided_by_spread", norm_by_std),
        ("divided_by_sample_spread", norm_by_torch_var),
        ("no_root", norm_unrooted),
        ("summed", norm_by_sum),
        ("mean_of_sizes", norm_by_absolute),
        ("eps_left_out", norm_without_eps),
        ("eps_behind_the_root", norm_eps_outside),
        ("one_size_for_all", norm_of_everything),
        ("over_positions", norm_over_tokens),
        ("over_the_batch", norm_over_rows),
        ("multiplied", norm_multiplied),
        ("overflow", norm_in_half),
        ("wrong_dtype", norm_left_in_float32),
    ],
    "count_parameters": [
        ("no_bias_anywhere", counting(attention_bias=0, feedforward_biases=(0, 0), norm=1)),
        ("biases_forgotten", counting(attention_bias=0, feedforward_biases=(0, 0))),
        ("attention_biases_forgotten", counting(attention_bias=0)),
        ("feedforward_biases_forgotten", counting(feedforward_biases=(0, 0))),
        ("third_norm_or_second_bias", counting(feedforward_biases=(1, 0))),
        ("third_norm_or_second_bias", counting(cross_norm=0)),
        ("one_feedforward_bias", counting(feedforward_biases=(0, 1))),
        ("feedforward_once", counting(matrices=(4, 1), feedforward_biases=(1, 0))),
        ("gated", counting(matrices=(4, 3), feedforward_biases=(2, 1))),
        ("out_forgotten", counting(matrices=(3, 2), attention_bias=3)),
        ("norm_scale_only", counting(norm=1)),
        ("norms_forgotten", counting(norm=0)),
        ("one_norm_a_layer", count_one_norm),
        ("cross_forgotten", counting(cross=0, cross_norm=0)),
        ("cross_attention_forgotten", counting(cross=0)),
        ("cross_in_encoder", count_two_encoders_with_cross),
        ("one_half_only", count_encoder),
        ("head_counted", counting(tables=2)),
        ("three_tables", counting(tables=3)),
        ("table_forgotten", counting(tables=0)),
        ("last_norms_too_many", count_with_last_norms_always),
        ("last_norms_forgotten", counting(last=0)),
        ("one_last_norm", counting(last=1)),
        ("from_the_library", count_with_library),
    ],
    "decoder_layer": [
        ("post_norm", layer_of_2017),
        ("added_to_the_normed", layer_overwritten),
        ("norm_behind_sublayer", layer_normed_after),
        ("norm_on_both_sides", layer_normed_twice),
        ("no_norm", layer_without_norms),
        ("nothing_added", layer_without_line),
        ("memory_replaces", layer_memory_replaces),
        ("one_line_at_the_end", layer_added_once),
        ("side_by_side", layer_parallel),
        ("first_norm_for_all", layer_one_norm),
        ("last_two_norms_swapped", in_order(["self", "read", "work"], [0, 2, 1])),
        ("cross_first", in_order(["read", "self", "work"], [0, 1, 2])),
        ("cross_first_with_its_norm", in_order(["read", "self", "work"], [1, 0, 2])),
        ("cross_last", in_order(["self", "work", "read"], [0, 1, 2])),
        ("cross_last_with_its_norm", in_order(["self", "work", "read"], [0, 2, 1])),
        ("cross_forgotten", in_order(["self", "work"], [0, 1])),
        ("cross_forgotten_norm_left", in_order(["self", "work"], [0, 2])),
        ("memory_normed", layer_memory_too),
        ("reads_itself", layer_cross_of_itself),
        ("raised", layer_cross_turned_round),
        ("dropout_left_out", layer_without_dropout),
        ("dropout_on_the_line", layer_dropout_around),
        ("dropout_before_sublayer", layer_dropout_early),
    ],
    "teacher_forcing": [
        ("not_shifted", forcing_with(with_both, with_both)),
        ("not_shifted_without_end", forcing_with(with_begin, with_begin)),
        ("begin_is_a_label", forcing_with(with_begin, with_both)),
        ("end_is_no_label", forcing_without_last_label),
        ("end_is_no_label_and_short", forcing_with(with_begin, with_neither)),
        ("begin_is_no_input", forcing_with(with_neither, with_end)),
        ("ends_read_ends_written", forcing_with(with_end, with_end)),
        ("end_is_input", forcing_with(with_both, with_end)),
        ("shifted_by_nobody", forcing_with(with_both, with_ignored_begin)),
        ("end_where_there_is_room", forcing_one_row),
        ("padding_is_a_label", forcing_with(with_begin, with_end, fill_labels="pad")),
        ("ends_without_end", forcing_with(with_begin, with_end, fill_labels="end")),
        ("ignored_is_input", forcing_from_labels),
        ("begin_and_end_swapped", forcing_swapped_tokens),
        ("swapped", forcing_swapped),
        ("padded_in_front", forcing_left),
        ("by_value", forcing_ignores_value),
        ("by_value_of_input", forcing_ignores_value_of_input),
        ("wrong_kind", forcing_labels_only),
    ],
    "translate_batch": [
        ("first_end_ends_all", translating(decode="everything", stop="any")),
        ("first_end_ends_all", translating(stop="any")),
        ("written_past_the_end", translating(cut="ends only")),
        ("end_kept", translating(cut="after end")),
        ("begin_kept", translating(cut="with begin")),
        ("one_step_too_few", translating(steps=-1)),
        ("one_step_too_many", translating(steps=1)),
        ("raised", translate_and_look_for_an_end),
        ("mask_still_missing", translating(decode="everything")),
        ("mask_moved", translating(encode="everything")),
        ("no_mask_left", translating(encode="everything", decode="everything")),
        ("memory_zeroed", translating(decode="everything", memory="zeroed")),
        ("mask_inverted", translating(decode="padding")),
        ("from_the_library", translate_with_library),
    ],
    "judge_translator": [
        ("asserts_nothing", judge_nothing),
        ("asserts_nothing", judge_shapes),
        ("raised", judge_with_a_slip),
        ("refuses_everything", judge_against_one),
        ("refuses_of_2017", judge_padded_in_front),
        ("misses_looks_ahead", judging(future="")),
        ("misses_sees_next", judging(compared="the first")),
        ("misses_leaks_a_little", judging(tolerance=0.1)),
        ("misses_decoder_reads_padding", judging(padding="", neighbours=False)),
        ("misses_encoder_reads_padding", judging(padding_tolerance=0.8)),
        ("misses_padding_is_zeros", judging(padding="others", neighbours=False)),
        ("misses_other_sentence", judging(neighbours=False)),
        ("misses_source_ignored", judging(source_matters=False)),
        ("misses_past_ignored", judging(past_matters=False)),
        ("misses_still_training", judging(seeded=True, neighbours="changed")),
    ],
    "beam_search": [
        ("greedy", beaming(beams_used=1)),
        ("length_ignored", beaming(rank="sum")),
        ("begin_counted", beaming(rank="with begin")),
        ("end_not_counted", beaming(rank="without end")),
        ("probabilities_added", beaming(score="p")),
        ("probability_divided", beaming(rank="p")),
        ("last_step_only", beaming(score="last")),
        ("finished_extended", beaming(after_end="go on")),
        ("finished_compete", beaming(after_end="compete")),
        ("beam_shrinks", beaming(after_end="shrink")),
        ("every_end_kept", beaming(ends_from="all", open_from="all")),
        ("ended_take_no_place", beaming(open_from="all")),
        ("one_continuation_each", beaming(each=1)),
        ("stops_at_first_end", beaming(stop=1)),
        ("stops_when_full", beaming(stop="beams")),
        ("finished_only", beaming(chosen="finished")),
        ("open_only", beaming(chosen="alive")),
        ("end_kept", beaming(text="with end")),
        ("begin_kept", beaming(text="with begin")),
    ],
}
