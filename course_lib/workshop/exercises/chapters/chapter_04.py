"""Chapter 04, the Transformer: probes and typical mistakes. Their texts stand in ``texts/<language>/chapter_04.toml``.

Sizes: B sequences, S source positions, T target positions, D model width, F feed-forward width, V vocabulary. In the
cases no two sizes are equal, except where equal ones are the point.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers.masks import causal_mask, padding_mask
from course_lib.models import encoder_decoder
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.using import generation
from course_lib.workshop.exercises.steps import ByHand, Catches, Exercise, Gives

_Case = tuple[Any, ...]


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, generator=generator)


# --- gemma_norm -------------------------------------------------------------------------------------------------------


def _by_size(size: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """x / size(x, eps) · (1 + weight), in float32."""
    return lambda x, weight, eps: (x.float() / size(x.float(), eps) * (1 + weight.float())).to(x.dtype)


def _root(x: Tensor, eps: float) -> Tensor:
    return (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def _normed(x: Tensor, eps: float) -> Tensor:
    return x / _root(x, eps)


_gemma = _by_size(_root)


def _vectors() -> Iterator[_Case]:
    """Large ones, small ones, some that are far from zero on average, and one of zeros."""
    randn = _numbers(40)
    yield 5 * randn(2, 3, 6), 0.5 * randn(6), 1e-6
    yield randn(3, 8) + 2, 0.5 * randn(8), 1e-5
    yield 1e-3 * randn(2, 2, 5, 4), 0.5 * randn(4), 1e-5
    yield torch.stack([torch.zeros(5), randn(5)]), 0.5 * randn(5), 1e-6


def _half_vectors() -> Iterator[_Case]:
    randn = _numbers(41)
    yield (300 * randn(3, 4, 6)).half(), (0.5 * randn(6)).half(), 1e-6


_NORM_MISTAKES = {
    "weight_alone": lambda x, weight, eps: _normed(x, eps) * weight,
    "weight_left_out": lambda x, weight, eps: _normed(x, eps),
    "parentheses_missing": lambda x, weight, eps: _normed(x, eps) * 1 + weight,
    "one_added_at_the_end": lambda x, weight, eps: _normed(x, eps) * weight + 1,
    "layer_norm": lambda x, weight, eps: F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + weight),
    "divided_by_spread": _by_size(lambda x, eps: (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()),
    "divided_by_sample_spread": _by_size(lambda x, eps: (x.var(dim=-1, keepdim=True) + eps).sqrt()),
    "no_root": _by_size(lambda x, eps: x.square().mean(dim=-1, keepdim=True) + eps),
    "summed": _by_size(lambda x, eps: (x.square().sum(dim=-1, keepdim=True) + eps).sqrt()),
    "mean_of_sizes": _by_size(lambda x, eps: x.abs().mean(dim=-1, keepdim=True) + eps),
    "eps_left_out": _by_size(lambda x, eps: _root(x, 0.0)),
    "eps_behind_the_root": _by_size(lambda x, eps: _root(x, 0.0) + eps),
    "one_size_for_all": _by_size(lambda x, eps: (x.square().mean() + eps).sqrt()),
    "over_positions": _by_size(lambda x, eps: (x.square().mean(dim=-2, keepdim=True) + eps).sqrt()),
    "over_the_batch": _by_size(lambda x, eps: (x.square().mean(dim=0, keepdim=True) + eps).sqrt()),
    "multiplied": lambda x, weight, eps: x * _root(x, eps) * (1 + weight),
}


# --- count_parameters -------------------------------------------------------------------------------------------------


@functools.cache
def _real_count(vocabulary: int, layers: int, width: int, hidden: int, pre_norm: bool) -> int:
    config = TransformerConfig(
        vocabulary, layers=layers, heads=2, width=width, hidden=hidden, block="pre" if pre_norm else "post"
    )
    with torch.random.fork_rng(devices=[]):
        return sum(parameter.numel() for parameter in Transformer(config).parameters())


_Size = Callable[[int], int]
_SIZES_2017 = [(11, 2, 6, 10, False), (7, 3, 4, 22, False), (101, 1, 10, 14, False)]


def _counted(
    tables: int = 1,
    attention: _Size = lambda D: 4 * D * D + 4 * D,
    feedforward: Callable[[int, int], int] = lambda D, F: 2 * D * F + F + D,
    norm: _Size = lambda D: 2 * D,
    attentions: tuple[int, int] = (1, 2),
    norms: tuple[int, int] = (2, 3),
    last: Callable[[bool], int] = lambda pre_norm: 2 * pre_norm,
) -> Callable[[int, int, int, int, bool], int]:
    """Another count: ``attentions`` and ``norms`` of an encoder's and a decoder's layer, ``last`` norms of all."""

    def count(vocabulary: int, layers: int, width: int, hidden: int, pre_norm: bool) -> int:
        one_of_each = (
            sum(attentions) * attention(width) + 2 * feedforward(width, hidden) + sum(norms) * norm(width)
        )  # a layer of the encoder and one of the decoder
        return tables * vocabulary * width + layers * one_of_each + last(pre_norm) * norm(width)

    return count


_COUNT_MISTAKES = {
    "no_bias_anywhere": _counted(attention=lambda D: 4 * D * D, feedforward=lambda D, F: 2 * D * F, norm=lambda D: D),
    "biases_forgotten": _counted(attention=lambda D: 4 * D * D, feedforward=lambda D, F: 2 * D * F),
    "attention_biases_forgotten": _counted(attention=lambda D: 4 * D * D),
    "feedforward_biases_forgotten": _counted(feedforward=lambda D, F: 2 * D * F),
    "third_norm_or_second_bias": _counted(norms=(2, 2)),  # 2 D each: one number, two mistakes
    "one_feedforward_bias": _counted(feedforward=lambda D, F: 2 * D * F + D),
    "feedforward_once": _counted(feedforward=lambda D, F: D * F + F),
    "gated": _counted(feedforward=lambda D, F: 3 * D * F + 2 * F + D),
    "out_forgotten": _counted(attention=lambda D: 3 * D * D + 3 * D),
    "norm_scale_only": _counted(norm=lambda D: D),
    "norms_forgotten": _counted(norm=lambda D: 0),
    "one_norm_a_layer": _counted(norms=(1, 1)),
    "cross_forgotten": _counted(attentions=(1, 1), norms=(2, 2)),
    "cross_attention_forgotten": _counted(attentions=(1, 1)),
    "cross_in_encoder": _counted(attentions=(2, 2), norms=(3, 3)),
    "one_half_only": _counted(attentions=(1, 0), norms=(2, 0), feedforward=lambda D, F: (2 * D * F + F + D) // 2),
    "head_counted": _counted(tables=2),
    "three_tables": _counted(tables=3),
    "table_forgotten": _counted(tables=0),
}
_LAST_NORM_MISTAKES = {
    "last_norms_forgotten": _counted(last=lambda pre_norm: 0),
    "one_last_norm": _counted(last=lambda pre_norm: pre_norm),
}


# --- decoder_layer ----------------------------------------------------------------------------------------------------

_Part = Callable[..., Tensor]


def _pre_norm(x: Tensor, norm: _Part, sublayer: _Part, dropout: _Part) -> Tensor:
    return x + dropout(sublayer(norm(x)))


def _layer(
    residual: Callable[[Tensor, _Part, _Part, _Part], Tensor] = _pre_norm,
    order: str = "acf",
    norms_used: tuple[int, int, int] = (0, 1, 2),
) -> Callable[..., Tensor]:
    """``order`` names the sublayers by their first letters; ``norms_used`` are the norms of the three places."""

    def layer(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
        attention, cross, feedforward, norms, dropout = parts
        sublayers = {"a": attention, "c": lambda x: cross(x, memory), "f": feedforward}
        for letter, norm in zip(order, norms_used, strict=False):
            x = residual(x, norms[norm], sublayers[letter], dropout)
        return x

    return layer


def _never_added(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
    """What cross-attention gives replaces what was there."""
    attention, cross, feedforward, norms, dropout = parts
    x = x + dropout(attention(norms[0](x)))
    x = dropout(cross(norms[1](x), memory))
    return x + dropout(feedforward(norms[2](x)))


def _side_by_side(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
    attention, cross, feedforward, norms, dropout = parts
    read = [attention(norms[0](x)), cross(norms[1](x), memory), feedforward(norms[2](x))]
    return x + sum(map(dropout, read))


def _one_line_at_the_end(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
    attention, cross, feedforward, norms, dropout = parts
    y = dropout(attention(norms[0](x)))
    y = dropout(cross(norms[1](y), memory))
    return x + dropout(feedforward(norms[2](y)))


def _memory_normed(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
    norms = parts[3]
    return _layer()(x, norms[1](memory), *parts)


def _reads_itself(x: Tensor, memory: Tensor, *parts: Any) -> Tensor:
    attention, cross, *others = parts
    return _layer()(x, memory, attention, lambda x, _: cross(x, x), *others)


def _from_normed(x: Tensor, norm: _Part, sublayer: _Part, dropout: _Part) -> Tensor:
    return norm(x) + dropout(sublayer(norm(x)))


_LAYER_MISTAKES = {
    "post_norm": _layer(lambda x, norm, sublayer, dropout: norm(x + dropout(sublayer(x)))),
    "added_to_the_normed": _layer(_from_normed),
    "norm_behind_sublayer": _layer(lambda x, norm, sublayer, dropout: x + dropout(norm(sublayer(x)))),
    "norm_on_both_sides": _layer(lambda x, norm, sublayer, dropout: norm(x + dropout(sublayer(norm(x))))),
    "no_norm": _layer(lambda x, norm, sublayer, dropout: x + dropout(sublayer(x))),
    "nothing_added": _layer(lambda x, norm, sublayer, dropout: dropout(sublayer(norm(x)))),
    "memory_replaces": _never_added,
    "one_line_at_the_end": _one_line_at_the_end,
    "side_by_side": _side_by_side,
    "first_norm_for_all": _layer(norms_used=(0, 0, 0)),
    "last_two_norms_swapped": _layer(norms_used=(0, 2, 1)),
    "cross_first": _layer(order="caf"),
    "cross_first_with_its_norm": _layer(order="caf", norms_used=(1, 0, 2)),
    "cross_last": _layer(order="afc"),
    "cross_last_with_its_norm": _layer(order="afc", norms_used=(0, 2, 1)),
    "cross_forgotten": _layer(order="af"),
    "cross_forgotten_norm_left": _layer(order="af", norms_used=(0, 2, 1)),
    "memory_normed": _memory_normed,
    "reads_itself": _reads_itself,
}
_DROPOUT_MISTAKES = {
    "dropout_left_out": _layer(lambda x, norm, sublayer, dropout: x + sublayer(norm(x))),
    "dropout_on_the_line": _layer(lambda x, norm, sublayer, dropout: dropout(x + sublayer(norm(x)))),
    "dropout_before_sublayer": _layer(lambda x, norm, sublayer, dropout: x + sublayer(dropout(norm(x)))),
}


def _parts(randn: Callable[..., Tensor], width: int) -> tuple[_Part, _Part, _Part, list[_Part]]:
    w, keys, values, up = (randn(width, width) for _ in range(4))

    def attention(x: Tensor) -> Tensor:
        length = x.shape[1]
        return torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None] @ x @ w

    def cross(x: Tensor, memory: Tensor) -> Tensor:
        return (x @ keys @ memory.mT).softmax(dim=-1) @ memory @ values

    def feedforward(x: Tensor) -> Tensor:
        return (x @ up).relu() @ w

    def new_norm() -> _Part:
        weight = 1 + 0.5 * randn(width)
        return lambda x: _normed(x, 1e-6) * weight

    return attention, cross, feedforward, [new_norm() for _ in range(3)]


def _without_dropout() -> Iterator[_Case]:
    for seed, width in ((42, 6), (43, 4)):
        randn = _numbers(seed)
        yield 2 * randn(2, 5, width), randn(2, 3, width), *_parts(randn, width), nn.Identity()


def _with_dropout() -> Iterator[_Case]:
    randn = _numbers(44)

    def dropout(x: Tensor) -> Tensor:
        """As nn.Dropout, but always of the same numbers: every third one."""
        return x * 1.5 * (torch.arange(x.numel()) % 3 > 0).view(x.shape)

    yield randn(2, 4, 5), randn(2, 7, 5), *_parts(randn, 5), dropout


# --- teacher_forcing --------------------------------------------------------------------------------------------------


def _rows(texts: list[list[int]], fill: int) -> Tensor:
    width = max(map(len, texts))
    return torch.tensor([[*text, *[fill] * (width - len(text))] for text in texts])


_Rows = Callable[[list[list[int]], int, int, int], list[list[int]]]


def _forced(
    inputs: _Rows = lambda texts, begin, end, pad: [[begin, *text] for text in texts],
    labels: _Rows = lambda texts, begin, end, pad: [[*text, end] for text in texts],
    fill: Callable[[int], int] = lambda pad: -100,
) -> Callable[[list[list[int]], int, int, int], tuple[Tensor, Tensor]]:
    """Both from rows of their own; ``fill`` is what the labels are filled with."""
    return lambda texts, begin, end, pad: (
        _rows(inputs(texts, begin, end, pad), pad),
        _rows(labels(texts, begin, end, pad), fill(pad)),
    )


_forcing = _forced()


def _input_ignored(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    """The labels, moved by one place: -100 with them."""
    labels = _forcing(texts, begin, end, pad)[1]
    return torch.cat([torch.full((len(texts), 1), begin), labels[:, :-1]], dim=1), labels


def _end_in_the_input(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    """One padded row, moved by one place: where there is room, the input has the end too."""
    rows = _rows([[begin, *text, end] for text in texts], pad)
    labels = _forcing(texts, begin, end, pad)[1]
    return rows[:, :-1], labels


def _labels_by_value(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    """Whatever has the value of padding is taken for padding."""
    inputs, labels = _forced(fill=lambda pad: pad)(texts, begin, end, pad)
    return inputs, labels.masked_fill(labels == pad, -100)


def _labels_by_value_of_input(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    inputs, labels = _forced(fill=lambda pad: pad)(texts, begin, end, pad)
    return inputs, labels.masked_fill(inputs == pad, -100)


def _swapped(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    return _forcing(texts, begin, end, pad)[::-1]


def _padded_in_front(texts: list[list[int]], begin: int, end: int, pad: int) -> tuple[Tensor, Tensor]:
    width = 1 + max(map(len, texts))
    inputs = [[pad] * (width - 1 - len(text)) + [begin, *text] for text in texts]
    labels = [[-100] * (width - 1 - len(text)) + [*text, end] for text in texts]
    return torch.tensor(inputs), torch.tensor(labels)


_FORCING_MISTAKES = {
    "not_shifted": _forced(
        inputs=lambda texts, begin, end, pad: [[begin, *text, end] for text in texts],
        labels=lambda texts, begin, end, pad: [[begin, *text, end] for text in texts],
    ),
    "not_shifted_without_end": _forced(labels=lambda texts, begin, end, pad: [[begin, *text] for text in texts]),
    "begin_is_a_label": _forced(labels=lambda texts, begin, end, pad: [[begin, *text, end] for text in texts]),
    "end_is_no_label": _forced(labels=lambda texts, begin, end, pad: [[*text, -100] for text in texts]),
    "end_is_no_label_and_short": _forced(labels=lambda texts, begin, end, pad: texts),
    "begin_is_no_input": _forced(inputs=lambda texts, begin, end, pad: texts),
    "ends_read_ends_written": _forced(inputs=lambda texts, begin, end, pad: [[*text, end] for text in texts]),
    "end_is_input": _forced(inputs=lambda texts, begin, end, pad: [[begin, *text, end] for text in texts]),
    "shifted_by_nobody": _forced(
        inputs=lambda texts, begin, end, pad: [[begin, *text, end] for text in texts],
        labels=lambda texts, begin, end, pad: [[-100, *text, end] for text in texts],
    ),
    "end_where_there_is_room": _end_in_the_input,
    "padding_is_a_label": _forced(fill=lambda pad: pad),
    "ends_without_end": lambda texts, begin, end, pad: _forced(fill=lambda pad: end)(texts, begin, end, pad),
    "ignored_is_input": _input_ignored,
    "begin_and_end_swapped": lambda texts, begin, end, pad: _forcing(texts, end, begin, pad),
    "swapped": _swapped,
    "padded_in_front": _padded_in_front,
}
_SHARED_MISTAKES = {"by_value": _labels_by_value, "by_value_of_input": _labels_by_value_of_input}
_SENTENCES = [
    ([[5, 9, 4], [7, 8], [6]], 1, 2, 0),
    ([[11, 3, 12, 4, 6], [], [9, 3]], 8, 7, 13),
    ([[4]], 0, 1, 2),
]
_SENTENCES_SHARED = [
    ([[5, 9, 4], [7], [8, 6]], 1, 2, 2),  # filled with the end
    ([[5], [7, 8, 4], [6, 9]], 0, 1, 0),  # as T5: filled with the begin
    ([[3, 6], [9], [4, 4, 7]], 2, 2, 1),  # as BART: begin and end are one
]


# --- translate_batch --------------------------------------------------------------------------------------------------


@functools.cache
def _random_model(seed: int, vocabulary: int, gain: float = 2.0, cross: float = 8.0, **parts: Any) -> Transformer:
    """With random weights of a size at which everything matters, in float64: nobody's rounding decides anything.

    ``gain``, and ``cross`` for what reads the memory: the larger, the more one key wins over all others.
    """
    randn = _numbers(seed)
    with torch.random.fork_rng(devices=[]):
        sizes: dict[str, Any] = {"layers": 2, "heads": 3, "width": 12, "hidden": 20}
        model = Transformer(TransformerConfig(vocabulary, dropout=0.0, **sizes, **parts)).double()
    model.__dict__["__name__"] = "model"  # so that a verdict does not print all its layers
    for name, parameter in sorted(model.requires_grad_(False).named_parameters()):
        numbers = randn(*parameter.shape).double()
        if parameter.ndim > 1:
            parameter.copy_(numbers * (cross if ".cross." in name else gain) * parameter.shape[-1] ** -0.5)
        else:
            parameter.copy_(0.2 * numbers + name.endswith("norm.weight"))
    return model.eval()


_Seen = Callable[[Tensor], Tensor | None]


def _real(source_real: Tensor) -> Tensor:
    return source_real


def _all(source_real: Tensor) -> None:
    return None


def _greedily(
    all_end: bool = True,
    seen: tuple[_Seen, _Seen] = (_real, _real),
    memory_of: Callable[[Tensor, Tensor], Tensor] = lambda memory, real: memory,
    text_of: Callable[[list[int], int], list[int]] = lambda row, end: row[1 : row.index(end, 1)],
    steps: Callable[[int], int] = lambda most: most,
) -> Callable[..., list[list[int]]]:
    """``seen``: what encoder and decoder may read of a source. ``text_of`` takes the text out of a row with an end."""

    def translations(
        model: Transformer, source: Tensor, source_real: Tensor, begin: int, end: int, most: int
    ) -> list[list[int]]:
        memory = memory_of(model.encode(source, seen[0](source_real)), source_real)
        target = torch.full((len(source), 1), begin)
        for _ in range(steps(most)):
            logits = model.decode(target, memory, seen[1](source_real))
            target = torch.cat([target, logits[:, -1:].argmax(dim=-1)], dim=1)
            ended = (target[:, 1:] == end).any(dim=1) if all_end else target[:, -1] == end
            if ended.all() if all_end else ended.any():
                break
        return [text_of([*row, end], end) for row in target.tolist()]

    return translations


def _past_the_end(row: list[int], end: int) -> list[int]:
    return [token for token in row[1:] if token != end]


def _with_end(row: list[int], end: int) -> list[int]:
    ended = row.index(end, 1)
    return row[1 : ended + (ended < len(row) - 1)]


def _with_begin(row: list[int], end: int) -> list[int]:
    return row[: row.index(end, 1)]


def _zeroed(memory: Tensor, real: Tensor) -> Tensor:
    return memory * real[..., None]


_END_MISTAKES = {
    "first_end_ends_all": _greedily(all_end=False),
    "written_past_the_end": _greedily(text_of=_past_the_end),
    "end_kept": _greedily(text_of=_with_end),
    "begin_kept": _greedily(text_of=_with_begin),
    "one_step_too_few": _greedily(steps=lambda most: most - 1),
    "one_step_too_many": _greedily(steps=lambda most: most + 1),
    "mask_inverted": _greedily(seen=(_real, lambda real: ~real)),
}
_PADDING_MISTAKES = {
    "mask_still_missing": _greedily(seen=(_real, _all)),
    "mask_moved": _greedily(seen=(_all, _real)),
    "no_mask_left": _greedily(seen=(_all, _all)),
    "memory_zeroed": _greedily(seen=(_real, _all), memory_of=_zeroed),
}


def _sources(seed: int, lengths: list[int], vocabulary: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(3, vocabulary, real.shape, generator=generator)
    return ids.masked_fill(~real, 0), real


# The seeds are such that texts end at different places, no two tokens are nearly as likely, and each mistake shows.


def _equally_long() -> Iterator[_Case]:
    for seed, model in ((0, 1), (2, 15)):
        yield _random_model(model, 9, block="pre", tied=False), *_sources(seed, [5, 5, 5, 5], 9), 1, 2, 8


def _unequally_long() -> Iterator[_Case]:
    for seed, model in ((2, 15), (0, 26), (1, 41)):
        yield _random_model(model, 9, block="pre", tied=False), *_sources(seed, [3, 7, 1, 4, 5], 9), 1, 2, 8


# --- judge_translator -------------------------------------------------------------------------------------------------

_WORDS = 20
_Translator = Callable[[Tensor, Tensor, Tensor], Tensor]


def _plainly(model: Callable[[], Transformer]) -> _Translator:
    return lambda source, target, source_real: model()(source, target, source_real).float()


def _translator(
    seen: Callable[[int], Tensor] = causal_mask,
    hides: tuple[bool, bool] = (True, True),
    memory_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda memory, real: (memory, real),
    after_layer: Callable[[Tensor], Tensor] = lambda y: y,
) -> _Translator:
    """An encoder-decoder in which one part may be another one. ``seen`` makes the mask of the target."""

    def logits(source: Tensor, target: Tensor, source_real: Tensor) -> Tensor:
        model = _random_model(50, _WORDS, gain=1.0, cross=1.0)
        memory, real = memory_of(model.encode(source, source_real if hides[0] else None), source_real)
        positions = torch.arange(target.shape[1])
        y = model.target_positions.add(model.embedding(target) * model.config.width**0.5, positions)
        for block in model.decoder:
            memory_mask = padding_mask(real) if hides[1] else None
            y = after_layer(block(y, memory, mask=seen(target.shape[1]), memory_mask=memory_mask, positions=positions))
        return model.unembedding(y).float()

    return logits


def _recurrent(source: Tensor, target: Tensor, source_real: Tensor) -> Tensor:
    """No Transformer at all: it reads and writes word by word, and looks back at what it has read."""
    randn = _numbers(51)
    words, first, forget, out = (randn(*size).double() for size in ((_WORDS, 7), (7,), (7, 7), (14, _WORDS)))
    state, memory = first.expand(len(source), -1), []
    for ids, real in zip(source.T, source_real.T, strict=True):
        state = torch.where(real[:, None], torch.tanh(words[ids] + state @ forget / 3), state)
        memory.append(state)
    read = torch.stack(memory, dim=1)  # (B, S, 7)
    logits = []
    for ids in target.T:
        state = torch.tanh(words[ids] + state @ forget / 3)
        scores = (read @ state[:, :, None]).squeeze(-1).masked_fill(~source_real, -math.inf)
        found = (scores.softmax(dim=-1)[:, None] @ read).squeeze(1)
        logits.append(torch.cat([state, found], dim=-1) @ out)
    return torch.stack(logits, dim=1).float()


def _modern_parts() -> Transformer:
    return _random_model(
        52, _WORDS, gain=1.0, cross=1.0, block="pre", positions="rotary", norm="rms", feedforward="swiglu", bias=False
    )


def _one_too_far(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril(1)


def _everything(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool)


def _itself_only(length: int) -> Tensor:
    return torch.eye(length, dtype=torch.bool)


_TRANSLATORS_RIGHT = {
    "of_2017": _plainly(lambda: _random_model(50, _WORDS, gain=1.0, cross=1.0)),
    "modern": _plainly(_modern_parts),
    "recurrent": _recurrent,
}
_TRANSLATORS_BROKEN = {
    "looks_ahead": _translator(seen=_everything),
    "sees_next": _translator(seen=_one_too_far),
    "leaks_a_little": _translator(after_layer=lambda y: y - 0.1 * y.mean(dim=1, keepdim=True)),
    "decoder_reads_padding": _translator(hides=(True, False)),
    "encoder_reads_padding": _translator(hides=(False, True)),
    "padding_is_zeros": _translator(hides=(True, False), memory_of=lambda memory, real: (_zeroed(memory, real), real)),
    "other_sentence": _translator(memory_of=lambda memory, real: (memory.flip(0), real.flip(0))),
    "source_ignored": _translator(memory_of=lambda memory, real: (torch.zeros_like(memory), real)),
    "past_ignored": _translator(seen=_itself_only),
    "still_training": _translator(after_layer=lambda y: F.dropout(y, 0.1, training=True)),
}


# --- beam_search ------------------------------------------------------------------------------------------------------

_Text = tuple[float, list[int]]


def _searched(
    rank: Callable[[float, list[int]], float] = lambda total, ids: total / len(ids),
    join: Callable[[float, float], float] = lambda total, log_p: total + log_p,
    kept: Callable[[int, int], int] = lambda beams, finished: beams,
    per_beginning: Callable[[int, int], int] = lambda step, tokens: tokens,
    sets_aside: bool = True,
    competes: bool = False,
    enough: Callable[[int, int], bool] = lambda finished, beams: False,
    every_end: bool = False,
    open_from_all: bool = False,
    judged: Callable[[list[_Text], list[_Text]], list[_Text]] = lambda finished, still_open: finished + still_open,
    text_of: Callable[[list[int], int, int], list[int]] = lambda ids, begin, end: ids[: (*ids, end).index(end)],
) -> Callable[[Tensor, int, int, int, int], list[int]]:
    """Beam search by the rule of the exercise, or with one part of it changed."""

    def search(table: Tensor, begin: int, end: int, beams: int, most: int) -> list[int]:
        def ends(text: _Text) -> bool:
            return text[1][-1] == end and sets_aside

        still_open: list[_Text] = [(0.0, [])]
        finished: list[_Text] = []
        for step in range(most):
            longer: list[_Text] = [*finished] if competes else []
            for total, ids in still_open:
                row = table[(begin, *ids)[-1]].tolist()
                likeliest = sorted(((log_p, token) for token, log_p in enumerate(row)), reverse=True)
                few = likeliest[: per_beginning(step, len(row))]
                longer += [(join(total, log_p), [*ids, token]) for log_p, token in few]
            longer.sort(reverse=True)
            best = longer[: kept(beams, len(finished))]
            ended = [text for text in (longer if every_end else best) if ends(text)]
            finished = ended if competes else finished + ended
            still_open = [text for text in (longer if open_from_all else best) if not ends(text)][:beams]
            if not still_open or enough(len(finished), beams):
                break
        winner = max(judged(finished, still_open), key=lambda text: rank(*text))
        return text_of(winner[1], begin, end)

    return search


_search = _searched()


def _mean_without_end(end: int) -> Callable[[float, list[int]], float]:
    return lambda total, ids: total / max(1, len(ids) - (ids[-1] == end))


_BEAM_MISTAKES = {
    "greedy": lambda table, begin, end, beams, most: _search(table, begin, end, 1, most),
    "length_ignored": _searched(rank=lambda total, ids: total),
    "begin_counted": _searched(rank=lambda total, ids: total / (len(ids) + 1)),
    "end_not_counted": lambda table, begin, end, beams, most: _searched(rank=_mean_without_end(end))(
        table, begin, end, beams, most
    ),
    "probabilities_added": _searched(join=lambda total, log_p: total + math.exp(log_p)),
    "probability_divided": _searched(rank=lambda total, ids: math.exp(total) / len(ids)),
    "last_step_only": _searched(join=lambda total, log_p: log_p),
    "finished_extended": _searched(sets_aside=False),
    "finished_compete": _searched(competes=True),
    "beam_shrinks": _searched(kept=lambda beams, finished: max(0, beams - finished)),
    "every_end_kept": _searched(every_end=True, open_from_all=True),
    "ended_take_no_place": _searched(open_from_all=True),
    "one_continuation_each": _searched(per_beginning=lambda step, tokens: 1 if step else tokens),
    "stops_at_first_end": _searched(enough=lambda finished, beams: finished > 0),
    "stops_when_full": _searched(enough=lambda finished, beams: finished >= beams),
    "finished_only": _searched(judged=lambda finished, still_open: finished or still_open),
    "open_only": _searched(judged=lambda finished, still_open: still_open or finished),
    "end_kept": _searched(text_of=lambda ids, begin, end: ids),
    "begin_kept": _searched(text_of=lambda ids, begin, end: [begin, *ids[: (*ids, end).index(end)]]),
}


def _table(seed: int, size: int, begin: int, end: int, beams: int, most: int) -> _Case:
    """The seeds are such that no two texts are nearly as good, and that each mistake makes a difference somewhere."""
    logits = 1.5 * _numbers(seed)(size, size)
    logits[:, begin] = -8.0
    return logits.double().log_softmax(dim=-1), begin, end, beams, most


def _tables() -> Iterator[_Case]:
    yield _table(272, 6, 4, 2, 2, 8)
    yield _table(257, 7, 0, 1, 3, 6)
    yield _table(84, 7, 0, 1, 3, 6)
    yield _table(54, 5, 4, 3, 3, 6)
    yield _table(90, 6, 3, 5, 3, 7)
    yield _table(110, 5, 4, 3, 3, 6)


def _edge_tables() -> Iterator[_Case]:
    """The best text is empty; one beam; one token."""
    for case in ((2, 5, 0, 1, 3, 5), (0, 6, 0, 1, 1, 6), (1, 5, 2, 0, 3, 1)):
        yield _table(*case)


EXERCISES = [
    Exercise(
        "gemma_norm",
        minutes=6,
        difficulty=1,
        section="3",
        steps=[
            Gives("values", reference=_gemma, cases=_vectors, mistakes=_NORM_MISTAKES),
            Gives(
                "half",
                reference=_gemma,
                cases=_half_vectors,
                mistakes={"overflow": lambda x, weight, eps: _normed(x, eps) * (1 + weight)},
            ),
        ],
    ),
    Exercise(
        "count_parameters",
        minutes=12,
        difficulty=1,
        section="8",
        steps=[
            Gives(
                "post",
                reference=_real_count,
                cases=_SIZES_2017,
                mistakes=_COUNT_MISTAKES | {"last_norms_too_many": _counted(last=lambda pre_norm: 2)},
            ),
            Gives(
                "pre",
                reference=_real_count,
                cases=[(*sizes, True) for *sizes, _ in _SIZES_2017],
                mistakes=_LAST_NORM_MISTAKES,
            ),
            ByHand("by_hand", encoder_decoder, "Transformer", "initialise", _SIZES_2017[:1]),
        ],
    ),
    Exercise(
        "decoder_layer",
        minutes=12,
        difficulty=2,
        section="6",
        steps=[
            Gives("layer", reference=_layer(), cases=_without_dropout, mistakes=_LAYER_MISTAKES),
            Gives("dropout", reference=_layer(), cases=_with_dropout, mistakes=_DROPOUT_MISTAKES),
        ],
    ),
    Exercise(
        "teacher_forcing",
        minutes=12,
        difficulty=2,
        section="9",
        steps=[
            Gives("rows", reference=_forcing, cases=_SENTENCES, mistakes=_FORCING_MISTAKES),
            Gives("shared", reference=_forcing, cases=_SENTENCES_SHARED, mistakes=_SHARED_MISTAKES),
        ],
    ),
    Exercise(
        "translate_batch",
        minutes=15,
        difficulty=2,
        section="10",
        steps=[
            Gives("ends", reference=_greedily(), cases=_equally_long, mistakes=_END_MISTAKES),
            Gives("padding", reference=_greedily(), cases=_unequally_long, mistakes=_PADDING_MISTAKES),
            ByHand("by_hand", generation, "translate", "evaluating", _equally_long),
        ],
    ),
    Exercise(
        "judge_translator",
        minutes=20,
        difficulty=2,
        section="7",
        steps=[Catches("judges", right=_TRANSLATORS_RIGHT, broken=_TRANSLATORS_BROKEN)],
    ),
    Exercise(
        "beam_search",
        minutes=30,
        difficulty=3,
        section="11",
        steps=[
            Gives("texts", reference=_search, cases=_tables, mistakes=_BEAM_MISTAKES),
            Gives("edges", reference=_search, cases=_edge_tables),
        ],
    ),
]
