"""Chapter 08, the Hugging Face libraries: probes and typical mistakes. Their texts stand in
``texts/<language>/chapter_08.toml``.

Sizes: B rows, T positions, V vocabulary, D width, F feed-forward. In the cases no two sizes are equal. Nothing here
imports Transformers, which takes seconds, but the one step that needs a model of theirs, when it runs.
"""

import functools
import json
import math
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workshop.exercises.comparing import in_short, kind_of
from course_lib.workshop.exercises.steps import Answer, Catches, Exercise, Gives, Wrong, difference

_Case = tuple[Any, ...]
_State = dict[str, Tensor]
IGNORE = -100


def _only(*keys: Any) -> Callable[..., Any]:
    """A function is called, and of the tuple or dictionary that it gives only these places count."""

    def call(function: Callable[..., Any], *case: Any) -> Any:
        result = function(*case)
        if isinstance(result, tuple | list):
            return [value if place in keys else None for place, value in enumerate(result)]
        if isinstance(result, Mapping):
            return {key: result[key] for key in keys if key in result}
        return result

    return call


# --- auto_classes -----------------------------------------------------------------------------------------------------

_CAUSAL, _SEQ2SEQ, _BARE = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel"
_TOKENS, _SEQUENCE = "AutoModelForTokenClassification", "AutoModelForSequenceClassification"
_MASKED, _PRETRAINING = "AutoModelForMaskedLM", "AutoModelForPreTraining"

# The first is the usual one; the others lead to the same class.
_FITTING = {
    "a": (_CAUSAL, _PRETRAINING),
    "b": (_SEQUENCE,),
    "c": (_SEQ2SEQ, _PRETRAINING),
    "d": (_TOKENS,),
    "e": (_BARE, "AutoModelForTextEncoding"),
    "f": (_MASKED,),
    "g": (_SEQ2SEQ, _PRETRAINING, _MASKED),
}
_OTHER_AUTO_CLASSES = {
    *("AutoModelForQuestionAnswering", "AutoModelForMultipleChoice", "AutoModelForNextSentencePrediction"),
    *("AutoTokenizer", "AutoConfig", "AutoProcessor"),
}
_AUTO_CLASSES = {name for names in _FITTING.values() for name in names} | _OTHER_AUTO_CLASSES


def each_fits(answer: Answer) -> None:
    given = answer.value
    if not isinstance(given, Mapping):
        raise Wrong("wrong_kind", got=kind_of(given), want="dict", place="")
    if missing := [letter for letter in _FITTING if letter not in given]:
        raise Wrong("letter_missing", letters=", ".join(missing))
    for letter, fitting in _FITTING.items():
        name = _name_of(given[letter])
        if name not in fitting:
            _what_is_wrong_with(letter, name)


def _name_of(value: Any) -> str:
    """A class may be given by its name, or as itself."""
    return (
        value.strip().rpartition(".")[2] if isinstance(value, str) else str(getattr(value, "__name__", in_short(value)))
    )


def _what_is_wrong_with(letter: str, name: str) -> None:
    if not name.startswith("Auto"):
        raise Wrong("no_auto_class", letter=letter, given=name)
    if name not in _AUTO_CLASSES:
        raise Wrong("no_such_class", letter=letter, given=name)
    if letter == "g" and name == _CAUSAL:
        raise Wrong("half_of_bart")
    if letter == "c" and name == _CAUSAL:
        raise Wrong("t5_is_not_causal")
    if letter == "a" and name == _SEQ2SEQ:
        raise Wrong("gpt_has_no_encoder")
    if letter == "e":
        raise Wrong("head_not_wanted", given=name)
    if name == _BARE:
        raise Wrong("head_missing", letter=letter)
    if letter == "b" and name == _TOKENS:
        raise Wrong("token_for_text")
    if letter == "d" and name == _SEQUENCE:
        raise Wrong("text_for_token")
    if letter == "f" and name == _CAUSAL:
        raise Wrong("bert_reads_both_sides")
    raise Wrong("other_task", letter=letter, given=name)


# --- three_losses -----------------------------------------------------------------------------------------------------

_Counts = list[int]
_Means = list[float]


def _weighed(counts: _Counts, means: _Means) -> float:
    real = [(n, m) for n, m in zip(counts, means, strict=True) if n]
    return sum(n * m for n, m in real) / sum(n for n, _ in real)


def _sum_of_all(counts: _Counts, means: _Means) -> float:
    return sum(n * m for n, m in zip(counts, means, strict=True))


def _three_losses(counts: _Counts, means: _Means) -> tuple[float, float, float]:
    return _weighed(counts, means), sum(means) / len(means), sum(means)


_PARTS = [([6, 2], [1.5, 4.0]), ([10, 3, 7], [2.25, 0.5, 3.0]), ([1, 9, 2, 4], [5.0, 1.25, 2.5, 3.5])]
_ONE_IS_EMPTY = [([5, 0, 3], [2.0, math.nan, 4.5]), ([0, 4], [math.nan, 1.75])]

_One = Callable[[_Counts, _Means], float]


def _at(place: int, mistakes: Mapping[str, _One]) -> dict[str, Callable[..., Any]]:
    """Three losses of which only this one matters."""
    return {
        name: lambda counts, means, wrong=wrong: tuple(wrong(counts, means) if i == place else 0.0 for i in range(3))
        for name, wrong in mistakes.items()
    }


_WHOLE_MISTAKES: dict[str, _One] = {
    "mean_of_means": lambda counts, means: sum(means) / len(means),
    "means_added": lambda counts, means: sum(means),
    "never_divided": _sum_of_all,
    "divided_by_parts": lambda counts, means: _sum_of_all(counts, means) / len(counts),
    "means_over_targets": lambda counts, means: sum(means) / sum(counts),
    "weighed_by_the_others": lambda counts, means: (
        sum((sum(counts) - n) * m for n, m in zip(counts, means, strict=True)) / (sum(counts) * (len(counts) - 1))
    ),
    "weights_reversed": lambda counts, means: _weighed(counts[::-1], means),
}
_DIVIDED_MISTAKES: dict[str, _One] = {
    "always_two": lambda counts, means: sum(means) / 2,
    "divided_is_weighed": _weighed,
    "not_divided": lambda counts, means: sum(means),
    "divided_by_targets": lambda counts, means: sum(means) / sum(counts),
    "sums_over_parts": lambda counts, means: _sum_of_all(counts, means) / len(counts),
}
_AS_IS_MISTAKES: dict[str, _One] = {
    "averaged": lambda counts, means: sum(means) / len(means),
    "as_is_is_weighed": _weighed,
    "sums_added": _sum_of_all,
    "last_part": lambda counts, means: means[-1],
}
_EMPTY_MISTAKES: dict[str, _One] = {
    "nan_from_empty": lambda counts, means: _sum_of_all(counts, means) / sum(counts),
    "empty_weighs_one": lambda counts, means: (
        _sum_of_all(counts, [0.0 if math.isnan(m) else m for m in means]) / sum(max(n, 1) for n in counts)
    ),
}


# --- trainer_steps ----------------------------------------------------------------------------------------------------


def _steps(rows: int, batch_size: int, accumulate: int, epochs: int) -> int:
    return epochs * -(-rows // (batch_size * accumulate))


def _warm(steps: int, warmup: float) -> int:
    return int(warmup) if warmup >= 1 else math.ceil(warmup * steps)


def _trainer_steps(rows: int, batch_size: int, accumulate: int, epochs: int, warmup: float) -> tuple[int, int, float]:
    steps = _steps(rows, batch_size, accumulate, epochs)
    warm = _warm(steps, warmup)
    return steps, warm, 1.0 if warm < steps else (steps - 1) / warm


# rows, batch size, accumulation, epochs, warm-up. A warm-up of 0 comes in the last step alone, for some divide by it.
# Shares of the steps, such as 0.1 * 30, are kept away from whole numbers.
_TRAININGS = [
    (40, 8, 1, 3, 2),
    (41, 8, 1, 3, 2),
    (43, 8, 2, 5, 2),
    (50, 6, 4, 3, 2),
    (7, 16, 3, 2, 2),
    (97, 5, 3, 4, 2),
]
_WARM_UPS = [(40, 8, 1, 3, 0.25), (43, 8, 2, 5, 4), (97, 5, 3, 4, 0.3), (50, 6, 4, 3, 1), (43, 8, 2, 5, 0.02)]
_PEAKS = [
    (40, 8, 1, 3, 500),
    (43, 8, 2, 5, 15),
    (43, 8, 2, 5, 14),
    (97, 5, 3, 4, 0.3),
    (50, 6, 4, 3, 60),
    (9, 4, 1, 2, 0),
]


def _counted(steps: Callable[..., int]) -> Callable[..., tuple[int, int, float]]:
    return lambda rows, batch_size, accumulate, epochs, warmup: (steps(rows, batch_size, accumulate, epochs), 0, 0.0)


def _warmed(warm: Callable[[int, float, int], float]) -> Callable[..., tuple[int, float, float]]:
    """``warm`` is given the steps, the warm-up, and the steps of one epoch."""

    def warmed(rows: int, batch_size: int, accumulate: int, epochs: int, warmup: float) -> tuple[int, float, float]:
        steps = _steps(rows, batch_size, accumulate, epochs)
        return steps, warm(steps, warmup, steps // epochs), 0.0

    return warmed


def _peaked(peak: Callable[[int, int], float]) -> Callable[..., tuple[int, int, float]]:
    def peaked(*case: Any) -> tuple[int, int, float]:
        steps, warm, _ = _trainer_steps(*case)
        return steps, warm, peak(steps, warm)

    return peaked


_STEP_MISTAKES: dict[str, Callable[..., Any]] = {
    # what goes wrong in more trainings comes first
    "rows_across_and_lost": _counted(lambda r, b, a, e: e * r // (b * a)),
    "both_lost": _counted(lambda r, b, a, e: e * (r // (b * a))),
    "last_step_lost": _counted(lambda r, b, a, e: e * (-(-r // b) // a)),
    "last_batch_lost": _counted(lambda r, b, a, e: e * -(-(r // b) // a)),
    "across_epochs": _counted(lambda r, b, a, e: -(-e * -(-r // b) // a)),
    "rows_across_epochs": _counted(lambda r, b, a, e: -(-e * r // (b * a))),
    "accumulation_forgotten": _counted(lambda r, b, a, e: e * -(-r // b)),
    "accumulation_multiplied": _counted(lambda r, b, a, e: e * a * -(-r // b)),
    "epochs_forgotten": _counted(lambda r, b, a, e: -(-r // (b * a))),
    "one_too_many": _counted(lambda r, b, a, e: e * (r // (b * a) + 1)),
    "counts_rows": _counted(lambda r, b, a, e: e * r),
}
_WARM_UP_MISTAKES: dict[str, Callable[..., Any]] = {
    "share_as_it_is": _warmed(lambda steps, warmup, epoch: warmup),
    "share_cut_to_zero": _warmed(lambda steps, warmup, epoch: int(warmup)),
    "share_rounded_down": _warmed(lambda steps, warmup, epoch: int(warmup) if warmup >= 1 else int(warmup * steps)),
    "share_rounded": _warmed(lambda steps, warmup, epoch: int(warmup) if warmup >= 1 else round(warmup * steps)),
    "share_of_an_epoch": _warmed(
        lambda steps, warmup, epoch: int(warmup) if warmup >= 1 else math.ceil(warmup * epoch)
    ),
    "always_a_share": _warmed(lambda steps, warmup, epoch: math.ceil(warmup * steps)),
    "one_is_all": _warmed(lambda steps, warmup, epoch: int(warmup) if warmup > 1 else math.ceil(warmup * steps)),
}
_PEAK_MISTAKES: dict[str, Callable[..., Any]] = {
    "always_full": _peaked(lambda steps, warm: 1.0),
    "first_step_forgotten": _peaked(lambda steps, warm: min(1.0, steps / warm) if warm else 1.0),
    "of_our_schedule": _peaked(lambda steps, warm: min(1.0, steps / (warm + 1))),
    "above_full": _peaked(lambda steps, warm: (steps - 1) / warm if warm else 1.0),
    "upside_down": _peaked(lambda steps, warm: warm / (steps - 1) if warm >= steps else 1.0),
    "warm_up_cut_off": _peaked(lambda steps, warm: (steps - 1) / steps if warm >= steps else 1.0),
    "nothing_without_warm_up": _peaked(lambda steps, warm: min(1.0, (steps - 1) / warm) if warm else 0.0),
}


# --- collate_pairs ----------------------------------------------------------------------------------------------------

_Rows = list[dict[str, list[int]]]
_INPUTS = ("input_ids", "attention_mask")


def _filled(rows: Sequence[list[int]], filling: int, left: bool = False, width: int = 0) -> Tensor:
    width = width or max(map(len, rows))
    rests = [[filling] * (width - len(row)) for row in rows]
    return torch.tensor([rest + row if left else row + rest for row, rest in zip(rows, rests, strict=True)])


def _ones(rows: Sequence[list[int]], left: bool = False, width: int = 0) -> Tensor:
    return _filled([[1] * len(row) for row in rows], 0, left, width)


def _both(rows: _Rows) -> tuple[list[list[int]], list[list[int]]]:
    return [row["input_ids"] for row in rows], [row["labels"] for row in rows]


def _collated(
    rows: _Rows,
    pad_id: int,
    start_id: int,
    *,
    inputs: Callable[[list[list[int]], int], Tensor] = _filled,
    mask: Callable[[list[list[int]]], Tensor] = _ones,
    labels: Callable[[list[list[int]], int], Tensor] = lambda rows, pad_id: _filled(rows, IGNORE),
    decoder: Callable[[list[list[int]], int, int], Tensor] = lambda rows, pad_id, start_id: _filled(
        [[start_id, *row][: len(_longest(rows))] for row in rows], pad_id
    ),
) -> dict[str, Tensor]:
    sources, targets = _both(rows)
    return {
        "input_ids": inputs(sources, pad_id),
        "attention_mask": mask(sources),
        "labels": labels(targets, pad_id),
        "decoder_input_ids": decoder(targets, pad_id, start_id),
    }


def _longest(rows: list[list[int]]) -> list[int]:
    return max(rows, key=len)


def _some_pairs() -> Iterator[_Case]:
    """Sources and targets of other lengths; the longest target stands at another place than the longest source."""
    yield (
        [
            {"input_ids": [14, 9, 21, 1], "labels": [33, 1]},
            {"input_ids": [7, 1], "labels": [18, 25, 12, 40, 1]},
            {"input_ids": [30, 11, 1], "labels": [22, 16, 1]},
        ],
        0,
        5,
    )
    yield (
        [
            {"input_ids": [61, 8], "labels": [44, 51, 2]},
            {"input_ids": [17, 29, 35, 40, 52], "labels": [70, 2]},
        ],
        3,
        2,
    )


def _one_width(rows: _Rows) -> int:
    sources, targets = _both(rows)
    return max(len(row) for row in sources + targets)


def _to_one_width(rows: _Rows, pad_id: int, start_id: int) -> dict[str, Tensor]:
    width = _one_width(rows)
    return _collated(
        rows,
        pad_id,
        start_id,
        inputs=lambda rows, pad_id: _filled(rows, pad_id, width=width),
        mask=lambda rows: _ones(rows, width=width),
        labels=lambda rows, pad_id: _filled(rows, IGNORE, width=width),
    )


def _with(**parts: Any) -> Callable[..., dict[str, Tensor]]:
    return functools.partial(_collated, **parts)


_INPUT_MISTAKES: dict[str, Callable[..., Any]] = {
    "one_width_for_both": _to_one_width,
    "padded_left": _with(
        inputs=lambda rows, pad_id: _filled(rows, pad_id, left=True), mask=lambda rows: _ones(rows, left=True)
    ),
    "ids_padded_left": _with(inputs=lambda rows, pad_id: _filled(rows, pad_id, left=True)),
    "inputs_hidden": _with(inputs=lambda rows, pad_id: _filled(rows, IGNORE)),
    "padded_with_zero": _with(inputs=lambda rows, pad_id: _filled(rows, 0)),
    "cut_to_shortest": _with(
        inputs=lambda rows, pad_id: torch.tensor([row[: min(map(len, rows))] for row in rows]),
        mask=lambda rows: torch.ones(len(rows), min(map(len, rows)), dtype=torch.long),
    ),
    "mask_upside_down": _with(mask=lambda rows: 1 - _ones(rows)),
    "mask_of_ones": _with(mask=lambda rows: torch.ones_like(_ones(rows))),
    "mask_is_truth": _with(mask=lambda rows: _ones(rows).bool()),
    "mask_is_float": _with(mask=lambda rows: _ones(rows).float()),
    "mask_hides_end": _with(mask=lambda rows: _filled([[1] * (len(row) - 1) + [0] for row in rows], 0)),
}


def _shift_right(labels: Tensor, first: int) -> Tensor:
    return torch.cat([torch.full_like(labels[:, :1], first), labels[:, :-1]], dim=1)


_LABEL_MISTAKES: dict[str, Callable[..., Any]] = {
    "padding_is_learned": _with(labels=_filled),
    "zero_is_learned": _with(labels=lambda rows, pad_id: _filled(rows, 0)),
    "labels_padded_left": _with(labels=lambda rows, pad_id: _filled(rows, IGNORE, left=True)),
    "labels_shifted_too": _with(
        labels=lambda rows, pad_id: torch.cat([_filled(rows, IGNORE)[:, 1:], torch.full((len(rows), 1), IGNORE)], dim=1)
    ),
    "minus_one": _with(labels=lambda rows, pad_id: _filled(rows, -1)),
    "last_label_lost": _with(labels=lambda rows, pad_id: _filled([row[:-1] for row in rows], IGNORE)),
    "start_in_labels": lambda rows, pad_id, start_id: _collated(
        rows, pad_id, start_id, labels=lambda targets, pad_id: _filled([[start_id, *row] for row in targets], IGNORE)
    ),
}
_DECODER_MISTAKES: dict[str, Callable[..., Any]] = {
    "not_shifted": _with(decoder=lambda rows, pad_id, start_id: _filled(rows, pad_id)),
    "shifted_left": _with(
        decoder=lambda rows, pad_id, start_id: torch.cat(
            [_filled(rows, pad_id)[:, 1:], torch.full((len(rows), 1), pad_id)], dim=1
        )
    ),
    "hidden_are_read": _with(decoder=lambda rows, pad_id, start_id: _shift_right(_filled(rows, IGNORE), start_id)),
    "starts_with_padding": _with(decoder=lambda rows, pad_id, start_id: _shift_right(_filled(rows, pad_id), pad_id)),
    "rolled": _with(decoder=lambda rows, pad_id, start_id: _filled(rows, pad_id).roll(1, dims=1)),
    "one_too_long": _with(decoder=lambda rows, pad_id, start_id: _filled([[start_id, *row] for row in rows], pad_id)),
}


def _what_is_learned(function: Callable[..., Any], *case: Any) -> Any:
    """``decoder_input_ids`` alone, with 0 for every id at a place where nothing is learned: there any id will do."""
    result = function(*case)
    if not isinstance(result, Mapping):
        return result
    if "decoder_input_ids" not in result:
        return {}
    read, labels = result["decoder_input_ids"], result["labels"]
    if isinstance(read, Tensor) and read.shape == labels.shape:
        read = read.masked_fill((labels == IGNORE) & (read >= 0), 0)
    return {"decoder_input_ids": read}


# --- careful_batch ----------------------------------------------------------------------------------------------------

_Ids = list[list[int]]


def _batch_of(
    ids: Callable[[_Ids, int], Tensor] = _filled,
    mask: Callable[[_Ids, int], Tensor] = lambda rows, eos_id: _ones(rows),
    labels: Callable[[_Ids, int], Tensor] = lambda rows, eos_id: _filled(rows, IGNORE),
) -> Callable[[_Ids, int], dict[str, Tensor]]:
    return lambda rows, eos_id: {
        "input_ids": ids(rows, eos_id),
        "attention_mask": mask(rows, eos_id),
        "labels": labels(rows, eos_id),
    }


def _some_rows() -> Iterator[_Case]:
    """Rows of one text, of several, and one that was cut and so has no end."""
    yield [[15, 8, 2], [9, 2, 31, 7, 2], [22, 2]], 2
    yield [[40, 13, 27, 19, 6, 11], [5, 50, 33, 50], [50, 12, 50]], 50
    yield [[3, 3, 0], [4, 0, 5, 0, 6, 0, 7], [1, 9, 2, 0]], 0


def _moved_left(labels: Tensor) -> Tensor:
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORE)], dim=1)


def _by_id(rows: _Ids, eos_id: int) -> Tensor:
    ids = _filled(rows, eos_id)
    return ids.masked_fill(ids == eos_id, IGNORE)


def _one_end(rows: _Ids, eos_id: int) -> Tensor:
    ids = _filled(rows, eos_id)
    return ids.masked_fill((ids == eos_id) & ((ids == eos_id).cumsum(dim=1) > 1), IGNORE)


def _an_end_more(rows: _Ids, eos_id: int) -> Tensor:
    width = len(_longest(rows))
    return _filled([[*row, eos_id][:width] for row in rows], IGNORE)


def _all_but_the_last(rows: _Ids, eos_id: int) -> Tensor:
    return _filled([row[:-1] for row in rows], IGNORE, width=len(_longest(rows)))


_MASK_MISTAKES: dict[str, Callable[..., Any]] = {
    "ends_not_read": _batch_of(mask=lambda rows, eos_id: (_filled(rows, eos_id) != eos_id).long()),
    "one_end_read": _batch_of(mask=lambda rows, eos_id: (_one_end(rows, eos_id) != IGNORE).long()),
    "padding_is_read": _batch_of(mask=lambda rows, eos_id: torch.ones_like(_filled(rows, eos_id))),
    "mask_upside_down": _batch_of(mask=lambda rows, eos_id: 1 - _ones(rows)),
    "mask_is_truth": _batch_of(mask=lambda rows, eos_id: _ones(rows).bool()),
    "padded_with_another": _batch_of(ids=lambda rows, eos_id: _filled(rows, 0 if eos_id else 1)),
    "padded_with_zero": _batch_of(ids=lambda rows, eos_id: _filled(rows, 0)),
    "inputs_hidden": _batch_of(ids=lambda rows, eos_id: _filled(rows, IGNORE)),
    "padded_left": _batch_of(
        ids=lambda rows, eos_id: _filled(rows, eos_id, left=True), mask=lambda rows, eos_id: _ones(rows, left=True)
    ),
}
_END_MISTAKES: dict[str, Callable[..., Any]] = {
    "ends_hidden": _batch_of(labels=_by_id),
    "ends_hidden_and_shifted": _batch_of(labels=lambda rows, eos_id: _moved_left(_by_id(rows, eos_id))),
    "shifted_twice": _batch_of(labels=lambda rows, eos_id: _moved_left(_filled(rows, IGNORE))),
    "shifted_back": _batch_of(labels=lambda rows, eos_id: _shift_right(_filled(rows, IGNORE), IGNORE)),
    "padding_is_learned": _batch_of(labels=_filled),
    "padding_learned_and_shifted": _batch_of(labels=lambda rows, eos_id: _moved_left(_filled(rows, eos_id))),
    "only_one_end": _batch_of(labels=_one_end),
    "an_end_more": _batch_of(labels=_an_end_more),
    "last_token_lost": _batch_of(labels=_all_but_the_last),
    "zero_hidden": _batch_of(labels=lambda rows, eos_id: _filled(rows, 0)),
}


# --- to_linear --------------------------------------------------------------------------------------------------------

_MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_MASK_NAME = re.compile(r"\.attn\.(masked_)?bias$")


def _to_linear(
    state: _State,
    *,
    turned: Sequence[str] = _MATRICES,
    turn: Callable[[Tensor], Tensor] = lambda weight: weight.T,
    parts: str = "qkv",
    cut: Callable[[Tensor], Sequence[Tensor]] = lambda weight: weight.chunk(3),
    prefix: str = "transformer.",
    is_mask: Callable[[str], object] = _MASK_NAME.search,
    drops_head: Callable[[_State], bool] = lambda state: _head_is_a_copy(state),
) -> _State:
    found: _State = {}
    for name, weight in state.items():
        if is_mask(name) or (name == "lm_head.weight" and drops_head(state)):
            continue
        name = name.removeprefix(prefix)
        if name.endswith(tuple(f"{part}.weight" for part in turned)):
            weight = turn(weight)
        if ".c_attn." in name:
            for part, piece in zip(parts, cut(weight), strict=True):
                found[name.replace("c_attn", part)] = piece
        else:
            found[name] = weight
    return found


def _head_is_a_copy(state: _State) -> bool:
    head = state.get("lm_head.weight")
    tables = [weight for name, weight in state.items() if name.endswith("wte.weight")]
    return head is not None and torch.equal(head, tables[0])


def _state_of(
    seed: int, width: int, inner: int, layers: int, *, prefix: str = "", masks: bool = False, head: str = ""
) -> _State:
    """Names and shapes as in a file of GPT-2. ``head`` is "" (none), "copy" or "own"."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary, context = width + inner + 3, width + 1
    sizes: dict[str, tuple[int, ...]] = {"wte.weight": (vocabulary, width), "wpe.weight": (context, width)}
    for i in range(layers):
        for norm in ("ln_1", "ln_2"):
            sizes |= {f"h.{i}.{norm}.weight": (width,), f"h.{i}.{norm}.bias": (width,)}
        shapes = ((width, 3 * width), (width, width), (width, inner), (inner, width))
        for matrix, shape in zip(_MATRICES, shapes, strict=True):
            sizes |= {f"h.{i}.{matrix}.weight": shape, f"h.{i}.{matrix}.bias": shape[1:]}
    sizes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    state = {prefix + name: torch.randn(size, generator=generator) for name, size in sizes.items()}
    if masks:
        for i in range(layers):
            state[f"{prefix}h.{i}.attn.bias"] = torch.ones(1, 1, context, context).tril()
            state[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    if head:
        table = state[f"{prefix}wte.weight"]
        state["lm_head.weight"] = table.clone() if head == "copy" else table + 1
    return state


def _a_plain_file() -> Iterator[_Case]:
    yield (_state_of(80, 6, 10, 2),)
    yield (_state_of(81, 9, 4, 1),)


def _a_head_of_copies() -> Iterator[_Case]:
    yield (_state_of(82, 6, 10, 2, prefix="transformer.", head="copy"),)


def _an_old_file() -> Iterator[_Case]:
    yield (_state_of(83, 6, 10, 2, masks=True),)
    yield (_state_of(84, 3, 8, 1, masks=True, prefix="transformer.", head="copy"),)


def _a_head_of_its_own() -> Iterator[_Case]:
    yield (_state_of(85, 6, 10, 1, prefix="transformer.", head="own"),)


def _converted(**changes: Any) -> Callable[[_State], _State]:
    return functools.partial(_to_linear, **changes)


def _tables_turned(state: _State) -> _State:
    tables = ("wte.weight", "wpe.weight")
    return {name: weight.T if name.endswith(tables) else weight for name, weight in _to_linear(state).items()}


def _qkv_whole(state: _State) -> _State:
    return {
        name.removeprefix("transformer."): weight.T
        if name.endswith(tuple(f"{m}.weight" for m in _MATRICES))
        else weight
        for name, weight in state.items()
        if not _MASK_NAME.search(name) and not (name == "lm_head.weight" and _head_is_a_copy(state))
    }


def _columns_not_turned(state: _State) -> _State:
    """q, k and v are cut rightly out of the columns, and left as they lie: they are square, so nothing complains."""
    return {
        name: weight.T if re.search(r"attn\.[qkv]\.weight$", name) else weight
        for name, weight in _to_linear(state).items()
    }


def _every_third(weight: Tensor) -> list[Tensor]:
    return [weight[start::3] for start in range(3)]


_TURN_MISTAKES: dict[str, Callable[..., Any]] = {
    "nothing_turned": _converted(turned=(), cut=lambda weight: weight.chunk(3, dim=-1)),
    "square_forgotten": _converted(turned=("attn.c_attn", "mlp.c_fc", "mlp.c_proj")),
    "projections_forgotten": _converted(turned=("attn.c_attn", "mlp.c_fc")),
    "attention_alone": _converted(turned=("attn.c_attn", "attn.c_proj")),
    "qkv_not_turned": _columns_not_turned,
    "squares_not_turned": lambda state: {
        name: weight.T if re.search(r"attn\.(q|k|v|c_proj)\.weight$", name) else weight
        for name, weight in _to_linear(state).items()
    },
    "reshaped": _converted(turn=lambda weight: weight.reshape(weight.shape[::-1])),
    "tables_turned": _tables_turned,
    "cut_before_turning": _converted(
        turned=("attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        cut=lambda weight: [piece.T for piece in weight.chunk(3)],
    ),
    "cut_and_left": _converted(turned=("attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
    "every_third": _converted(cut=_every_third),
    "another_order": _converted(parts="kqv"),
    "reversed_order": _converted(parts="vkq"),
    "not_cut": _qkv_whole,
    "biases_lost": lambda state: {
        name: weight for name, weight in _to_linear(state).items() if "ln" in name or not name.endswith("bias")
    },
    "bias_not_cut": lambda state: {
        name: weight
        for name, weight in (
            _to_linear(state) | {n: w for n, w in _qkv_whole(state).items() if "c_attn.bias" in n}
        ).items()
        if not re.search(r"attn\.[qkv]\.bias", name)
    },
    "real_bias_lost": _converted(is_mask=lambda name: name.endswith(("attn.bias", "masked_bias"))),
}
_NAME_MISTAKES: dict[str, Callable[..., Any]] = {
    "prefix_kept": _converted(prefix="-"),
    "copy_kept": _converted(drops_head=lambda state: False),
    "prefix_and_copy_kept": _converted(prefix="-", drops_head=lambda state: False),
}
_OLD_MISTAKES: dict[str, Callable[..., Any]] = {
    "masks_kept": _converted(is_mask=lambda name: False),
    "one_mask_kept": _converted(is_mask=lambda name: name.endswith(".attn.bias")),
    "other_mask_kept": _converted(is_mask=lambda name: name.endswith("masked_bias")),
}
_HEAD_MISTAKES: dict[str, Callable[..., Any]] = {"head_lost": _converted(drops_head=lambda state: True)}


def _logits(weights: _State, ids: Tensor, layers: int, heads: int) -> Tensor:
    """GPT-2, of ``F.linear`` alone."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = weights["wte.weight"][ids] + weights["wpe.weight"][: ids.shape[1]]
    for i in range(layers):
        y = norm(f"h.{i}.ln_1", x)
        q, k, v = (linear(f"h.{i}.attn.{part}", y).unflatten(-1, (heads, -1)).transpose(1, 2) for part in "qkv")
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(f"h.{i}.attn.c_proj", y)
        y = F.gelu(linear(f"h.{i}.mlp.c_fc", norm(f"h.{i}.ln_2", x)), approximate="tanh")
        x = x + linear(f"h.{i}.mlp.c_proj", y)
    return norm("ln_f", x) @ weights["wte.weight"].T


def same_logits(answer: Answer) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel  # takes seconds, so not above

    config = GPT2Config(
        vocab_size=17,
        n_positions=9,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=20,
        bos_token_id=None,
        eos_token_id=None,  # those of the real GPT-2 are far outside of this vocabulary
    )
    theirs = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(86)
    with torch.no_grad():
        for parameter in theirs.parameters():  # new ones have biases of 0, which would hide a bias that is lost
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        ids = torch.randint(17, (4, 7), generator=generator)
        weights = answer(dict(theirs.state_dict()))
        answer.inputs = ()
        if difference(_logits(weights, ids, 2, 3), theirs(ids).logits, 1e-4):
            raise Wrong("other_logits")


# --- judge_reader -----------------------------------------------------------------------------------------------------

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "BOOL": torch.bool,
}
_Header = dict[str, Any]


def _read(
    raw: bytes,
    *,
    length: Callable[[bytes], int] = lambda raw: int.from_bytes(raw[:8], "little"),
    letters: str = "utf-8",
    skips_notes: bool = True,
    entries: Callable[[_Header], _Header] = lambda header: header,
    tensor: Callable[[bytes, _Header], Tensor] = lambda data, entry: _tensor(data, entry),
) -> dict[str, Tensor]:
    """By hand. Whatever is amiss is a ValueError (UnicodeDecodeError and JSONDecodeError are such errors)."""
    start = 8 + length(raw)
    if len(raw) < start or start == 8:
        raise ValueError("the header is longer than the file, so this is no safetensors file")
    header = json.loads(raw[8:start].decode(letters))
    notes = header.pop("__metadata__", None)
    data = raw[start:]
    if len(data) != max((entry["data_offsets"][1] for entry in header.values()), default=0):
        raise ValueError("the file does not end where its header says")
    if notes and not skips_notes:
        header["__metadata__"] = notes
    return {name: tensor(data, entry) for name, entry in entries(header).items()}


def _tensor(data: bytes, entry: _Header, dtype: torch.dtype | None = None) -> Tensor:
    start, end = entry["data_offsets"]
    numbers = bytearray(data[start:end])
    kind = dtype or _DTYPES[entry["dtype"]]
    flat = torch.frombuffer(numbers, dtype=kind) if numbers else torch.empty(0, dtype=kind)
    return flat.view(entry["shape"])


def _by_the_library(raw: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(raw)
    except Exception as error:
        raise ValueError(f"no safetensors file: {error}") from error


def _backwards(header: _Header) -> _Header:
    return dict(reversed(header.items()))


def _in_order_of_names(header: _Header) -> _Header:
    """The numbers are taken to lie in the order of the names, one tensor behind the other."""
    found, place = {}, 0
    for name in sorted(header):
        start, end = header[name]["data_offsets"]
        found[name] = header[name] | {"data_offsets": [place, place + end - start]}
        place += end - start
    return found


def _first_alone(header: _Header) -> _Header:
    return dict(list(header.items())[:1])


def _by_columns(data: bytes, entry: _Header) -> Tensor:
    flat = _tensor(data, entry)
    shape = entry["shape"]
    return flat.reshape(shape[::-1]).permute(tuple(range(len(shape) - 1, -1, -1)))


def _scalar_as_row(data: bytes, entry: _Header) -> Tensor:
    return torch.atleast_1d(_tensor(data, entry))


def _bfloat_as_half(data: bytes, entry: _Header) -> Tensor:
    return _tensor(data, entry, torch.float16 if entry["dtype"] == "BF16" else None)


def _always_float32(data: bytes, entry: _Header) -> Tensor:
    return _tensor(data, entry).float()


def _fills_up(raw: bytes) -> dict[str, Tensor]:
    """What is missing at the end becomes zeros."""
    size = 8 + int.from_bytes(raw[:8], "little")
    if len(raw) >= size > 8:
        header = json.loads(raw[8:size])
        header.pop("__metadata__", None)
        end = size + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        raw = raw.ljust(end, b"\0")
    return _read(raw)


def _without_empty(header: _Header) -> _Header:
    return {name: entry for name, entry in header.items() if 0 not in entry["shape"]}


def _opens_pickles(raw: bytes) -> Any:
    """The old way, kept for old files. (It opens what the learner's test has made.)"""
    return pickle.loads(raw) if raw[:1] == b"\x80" else _read(raw)


def _looks_into_pickles(raw: bytes) -> dict[str, Tensor]:
    """It refuses a pickle, but only after it has opened it, to say what was in it."""
    if raw[:1] == b"\x80":
        raise ValueError(f"no safetensors file, but a pickle of {type(pickle.loads(raw)).__name__}")
    return _read(raw)


def _reading(**changes: Any) -> Callable[[bytes], dict[str, Tensor]]:
    def read(raw: bytes) -> dict[str, Tensor]:
        return _read(raw, **changes)

    return read


class _CatchesWithPytest(Catches):
    """``with pytest.raises(ValueError)`` says no by an error of its own, which is no ``Exception``."""

    @staticmethod
    def _accepts(answer: Answer, implementation: Any, may_raise: bool) -> bool:
        try:
            return Catches._accepts(answer, implementation, may_raise)
        except BaseException as error:
            if type(error).__name__ != "Failed":
                raise
            return False


_RIGHT_READERS: dict[str, Any] = {
    "by_hand": _reading(),
    "in_another_order": _reading(entries=_backwards),
    "of_the_library": _by_the_library,  # in any order: last, so that a test of the order is always called one
}
_BROKEN_READERS: dict[str, Any] = {
    "first_alone": _reading(entries=_first_alone),
    "by_columns": _reading(tensor=_by_columns),
    "always_float32": _reading(tensor=_always_float32),
    "bfloat_as_half": _reading(tensor=_bfloat_as_half),
    "in_order_of_names": _reading(entries=_in_order_of_names),
    "scalar_as_row": _reading(tensor=_scalar_as_row),
    "drops_empty": _reading(entries=_without_empty),
    "short_header": _reading(length=lambda raw: raw[0]),
    "metadata_unknown": _reading(skips_notes=False),
    "other_letters": _reading(letters="latin-1"),
    "fills_up": _fills_up,
    "opens_pickles": _opens_pickles,
    "looks_into_pickles": _looks_into_pickles,
}


EXERCISES = [
    Exercise("auto_classes", minutes=6, difficulty=1, section="6", steps=[each_fits]),
    Exercise(
        "three_losses",
        minutes=8,
        difficulty=1,
        section="5",
        steps=[
            Gives("whole", _three_losses, _PARTS, _at(0, _WHOLE_MISTAKES), call=_only(0)),
            Gives("divided", _three_losses, _PARTS, _at(1, _DIVIDED_MISTAKES), call=_only(1)),
            Gives("as_it_is", _three_losses, _PARTS, _at(2, _AS_IS_MISTAKES), call=_only(2)),
            Gives("empty", _three_losses, _ONE_IS_EMPTY, _at(0, _EMPTY_MISTAKES), call=_only(0)),
        ],
    ),
    Exercise(
        "trainer_steps",
        minutes=12,
        difficulty=2,
        section="5",
        seconds=60.0,  # whoever compares with their Trainer waits for what that imports
        steps=[
            Gives("steps", _trainer_steps, _TRAININGS, _STEP_MISTAKES, call=_only(0)),
            Gives("warm_up", _trainer_steps, _WARM_UPS, _WARM_UP_MISTAKES, call=_only(1)),
            Gives("peak", _trainer_steps, _PEAKS, _PEAK_MISTAKES, call=_only(2)),
        ],
    ),
    Exercise(
        "collate_pairs",
        minutes=15,
        difficulty=2,
        section="6",
        seconds=60.0,
        steps=[
            Gives("inputs", _collated, _some_pairs, _INPUT_MISTAKES, call=_only(*_INPUTS)),
            Gives("labels", _collated, _some_pairs, _LABEL_MISTAKES, call=_only("labels")),
            Gives("decoder", _collated, _some_pairs, _DECODER_MISTAKES, call=_what_is_learned),
        ],
    ),
    Exercise(
        "careful_batch",
        minutes=12,
        difficulty=2,
        section="6",
        seconds=60.0,
        steps=[
            Gives("inputs", _batch_of(), _some_rows, _MASK_MISTAKES, call=_only(*_INPUTS)),
            Gives("labels", _batch_of(), _some_rows, _END_MISTAKES, call=_only("labels")),
        ],
    ),
    Exercise(
        "to_linear",
        minutes=20,
        difficulty=3,
        section="2",
        seconds=60.0,  # the last step imports Transformers
        steps=[
            Gives("turned", _to_linear, _a_plain_file, _TURN_MISTAKES),
            Gives("names", _to_linear, _a_head_of_copies, _NAME_MISTAKES),
            Gives("old", _to_linear, _an_old_file, _OLD_MISTAKES),
            Gives("own_head", _to_linear, _a_head_of_its_own, _HEAD_MISTAKES),
            same_logits,
        ],
    ),
    Exercise(
        "judge_reader",
        minutes=25,
        difficulty=3,
        section="8",
        steps=[_CatchesWithPytest("judges", right=_RIGHT_READERS, broken=_BROKEN_READERS)],
    ),
]
