"""Chapter 05, pretraining: probes and typical mistakes. Their texts stand in ``texts/<language>/chapter_05.toml``.

Sizes: B sequences, T positions, V vocabulary, D width; N matrices of R rows and C columns. In the cases no two sizes
are equal.
"""

import copy
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.workshop.exercises.steps import Answer, Catches, Exercise, Gives, Wrong

_Case = tuple[Any, ...]


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, generator=generator)


def _ids(seed: int, vocabulary: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randint(vocabulary, size, generator=generator)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean nats over all targets but -100."""
    return _each(logits, targets).mean()


def _each(logits: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target but -100. (``F.cross_entropy``, with two threads on a busy machine, is 20 times slower
    at these sizes, and a check has to be quick. That both agree is seen where right answers use it.)
    """
    chosen = logits.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    return (logits.logsumexp(dim=-1) - chosen)[targets != -100]


# --- next_token_loss --------------------------------------------------------------------------------------------------


def _next_token_loss(logits: Tensor, labels: Tensor) -> float:
    return _nats(logits[:, :-1], labels[:, 1:]).item()


def _all_count() -> Iterator[_Case]:
    yield 2 * _numbers(50)(3, 5, 7), _ids(51, 7)(3, 5)
    yield 2 * _numbers(52)(2, 6, 4), _ids(53, 4)(2, 6)
    yield 2 * _numbers(54)(4, 3, 11), _ids(55, 11)(4, 3)


def _some_ignored() -> Iterator[_Case]:
    """More than 100 tokens in the vocabulary, so that -100 is an index for whoever counts from the end."""
    for seed, shape in ((56, (3, 5)), (57, (2, 7))):
        labels = _ids(seed, 130)(*shape)
        labels[0, -2:] = labels[1, 2] = labels[1, 0] = -100
        yield 2 * _numbers(seed)(*shape, 130), labels


def _log_chances(logits: Tensor, labels: Tensor, dim: int = -1) -> Tensor:
    """log P of each target, (B, T - 1)."""
    return _of_targets(logits - logits.logsumexp(dim, keepdim=True), labels)


def _of_targets(scores: Tensor, labels: Tensor) -> Tensor:
    return scores[:, :-1].gather(-1, labels[:, 1:, None]).squeeze(-1)


def _total(logits: Tensor, labels: Tensor) -> Tensor:
    return _each(logits[:, :-1], labels[:, 1:]).sum()


def _poured(logits: Tensor, labels: Tensor) -> float:
    length = labels.shape[1] - 1
    return _nats(logits[:, :-1].reshape(len(labels), -1, length).mT, labels[:, 1:]).item()


def _by_index(logits: Tensor, labels: Tensor) -> float:
    """An index of -100 counts from the end."""
    return _next_token_loss(logits, torch.where(labels < 0, labels + logits.shape[-1], labels))


def _mask_of_inputs(logits: Tensor, labels: Tensor) -> float:
    seen = labels[:, :-1] != -100
    return -float(_log_chances(logits, labels.clamp(min=0))[seen].mean())


def _mean_of_rows(logits: Tensor, labels: Tensor) -> float:
    rows = zip(logits.split(1), labels.split(1), strict=True)
    return sum(_next_token_loss(*row) for row in rows) / len(labels)


_LOSS_MISTAKES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "not_shifted": lambda logits, labels: _nats(logits, labels).item(),
    "shifted_back": lambda logits, labels: _nats(logits[:, 1:], labels[:, :-1]).item(),
    "by_two": lambda logits, labels: _nats(logits[:, :-2], labels[:, 2:]).item(),
    "rolled": lambda logits, labels: _nats(logits, labels.roll(-1, dims=1)).item(),
    "across_rows": lambda logits, labels: _nats(logits.flatten(0, 1)[None, :-1], labels.flatten()[None, 1:]).item(),
    "summed": lambda logits, labels: _total(logits, labels).item(),
    "summed_over_positions": lambda logits, labels: _total(logits, labels).item() / len(labels),
    "divided_by_all_positions": lambda logits, labels: _total(logits, labels).item() / labels.numel(),
    "softmax_twice": lambda logits, labels: _next_token_loss(logits.softmax(dim=-1), labels),
    "softmax_missing": lambda logits, labels: -_of_targets(logits, labels).mean().item(),
    "log_missing": lambda logits, labels: -_log_chances(logits, labels).exp().mean().item(),
    "log_of_mean": lambda logits, labels: -_log_chances(logits, labels).exp().mean().log().item(),
    "over_positions": lambda logits, labels: -_log_chances(logits, labels, dim=1).mean().item(),
    "poured": _poured,
    "bits": lambda logits, labels: _next_token_loss(logits, labels) / math.log(2),
    "minus_missing": lambda logits, labels: -_next_token_loss(logits, labels),
    "perplexity": lambda logits, labels: math.exp(_next_token_loss(logits, labels)),
    "not_averaged": lambda logits, labels: -_log_chances(logits, labels),
}
_IGNORED_MISTAKES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "ignored_counted": lambda logits, labels: _total(logits, labels).item() / labels[:, 1:].numel(),
    "ignored_as_token_0": lambda logits, labels: _next_token_loss(logits, labels.clamp(min=0)),
    "ignored_from_the_end": _by_index,
    "mask_of_inputs": _mask_of_inputs,
    "mean_of_rows": _mean_of_rows,
}


def learns(answer: Answer) -> None:
    logits, labels = next(_all_count())
    loss = answer(logits.requires_grad_(), labels)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Wrong("no_gradient")


# --- learning_rate ----------------------------------------------------------------------------------------------------


def _rate_by(decay: Callable[[int, int, int, float], float]) -> Callable[[int, int, int, float], float]:
    """The right warm-up, and after it what ``decay`` gives."""
    return lambda step, steps, warmup, peak: (
        peak * (step + 1) / warmup if step < warmup else decay(step, steps, warmup, peak)
    )


def _decay_by(
    done: Callable[[int, int, int], float] = lambda step, steps, warmup: (step + 1 - warmup) / (steps - warmup),
    shape: Callable[[float], float] = lambda done: 0.1 + 0.9 * _wave(done),
) -> Callable[[int, int, int, float], float]:
    """``done`` is the part of the decay that is behind us, ``shape`` what becomes of the peak there."""
    return _rate_by(lambda step, steps, warmup, peak: peak * shape(done(step, steps, warmup)))


def _wave(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _floor_of_its_own(step: int, steps: int, warmup: int, peak: float) -> float:
    return 0.1 + (peak - 0.1) * _wave((step + 1 - warmup) / (steps - warmup))


_rate = _decay_by()

_SCHEDULES = [(17, 5, 0.6), (24, 4, 3.0), (11, 3, 0.02)]  # steps, warm-up, peak
_WARM_STEPS = [(step, *schedule) for schedule in _SCHEDULES for step in range(schedule[1])]
_LATER_STEPS = [(step, *schedule) for schedule in _SCHEDULES for step in range(schedule[1], schedule[0])]
_EDGES = [*((step, 4, 1, 0.6) for step in range(4)), *((step, 6, 5, 0.6) for step in range(6)), (1, 2, 1, 0.5)]

_WARM_MISTAKES: dict[str, Callable[[int, int, int, float], float]] = {
    "starts_at_zero": lambda step, steps, warmup, peak: peak * step / warmup,
    "from_zero_to_peak": lambda step, steps, warmup, peak: peak * step / (warmup - 1),
    "of_the_chapter": lambda step, steps, warmup, peak: peak * (step + 1) / (warmup + 1),
    "no_warmup": lambda step, steps, warmup, peak: peak,
    "decays_already": lambda step, steps, warmup, peak: peak * (0.1 + 0.9 * _wave(step / (steps - 1))),
    "peak_ignored": lambda step, steps, warmup, peak: (step + 1) / warmup,
    "over_all_steps": lambda step, steps, warmup, peak: peak * (step + 1) / steps,
    "rises_in_a_wave": lambda step, steps, warmup, peak: peak * (1 - _wave((step + 1) / warmup)),
    "falls": lambda step, steps, warmup, peak: peak * (warmup - step) / warmup,
}

_DECAY_MISTAKES: dict[str, Callable[[int, int, int, float], float]] = {
    "counted_from_zero": _decay_by(lambda step, steps, warmup: (step + 1) / steps),
    "counted_from_step_0": _decay_by(lambda step, steps, warmup: step / (steps - 1)),
    "counted_from_0_to_steps": _decay_by(lambda step, steps, warmup: step / steps),
    "divided_by_all_steps": _decay_by(lambda step, steps, warmup: (step + 1 - warmup) / steps),
    "end_never_reached": _decay_by(lambda step, steps, warmup: (step - warmup) / (steps - warmup)),
    "peak_twice": _decay_by(lambda step, steps, warmup: (step - warmup) / (steps - 1 - warmup)),
    "past_the_end": _decay_by(lambda step, steps, warmup: (step + 1 - warmup) / (steps - 1 - warmup)),
    "floor_added": _decay_by(shape=lambda done: 0.1 + _wave(done)),
    "floor_cut": _decay_by(shape=lambda done: max(0.1, _wave(done))),
    "floor_of_its_own": _rate_by(_floor_of_its_own),
    "to_zero": _decay_by(shape=_wave),
    "whole_wave": _decay_by(shape=lambda done: 0.1 + 0.9 * _wave(2 * done)),
    "quarter_wave": _decay_by(shape=lambda done: 0.1 + 0.9 * math.cos(math.pi / 2 * done)),
    "degrees": _decay_by(shape=lambda done: 0.1 + 0.9 * (1 + math.cos(180 * done)) / 2),
    "one_missing": _decay_by(shape=lambda done: 0.1 + 0.9 * math.cos(math.pi * done)),
    "half_missing": _decay_by(shape=lambda done: 0.1 + 0.9 * 2 * _wave(done)),
    "straight": _decay_by(shape=lambda done: 1 - 0.9 * done),
    "rises_again": _decay_by(shape=lambda done: 1 - 0.9 * _wave(done)),
    "stays_at_peak": _decay_by(shape=lambda done: 1.0),
    "peak_ignored": lambda step, steps, warmup, peak: _rate(step, steps, warmup, 1.0),
}


# --- adamw_step -------------------------------------------------------------------------------------------------------

_Betas = tuple[float, float]
_Step = tuple[Tensor, Tensor, Tensor]


def _moments(g: Tensor, m: Tensor, v: Tensor, betas: _Betas) -> tuple[Tensor, Tensor]:
    return betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g


def _direction(m: Tensor, v: Tensor, step: int, betas: _Betas, eps: float) -> Tensor:
    return _corrected(m, betas[0], step) / (_corrected(v, betas[1], step).sqrt() + eps)


def _corrected(moment: Tensor, beta: float, step: int) -> Tensor:
    return moment / (1 - beta**step)


def _adamw_by(
    moments: Callable[..., tuple[Tensor, Tensor]] = _moments,
    direction: Callable[..., Tensor] = _direction,
    shrunk: Callable[[Tensor, float, float], Tensor] = lambda p, lr, decay: p * (1 - lr * decay),
) -> Callable[..., _Step]:
    """A step of AdamW in which one part may be another one."""

    def adamw_step(
        p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: int, lr: float, betas: _Betas, eps: float, decay: float
    ) -> _Step:
        m, v = moments(g, m, v, betas)
        return shrunk(p, lr, decay) - lr * direction(m, v, step, betas, eps), m, v

    return adamw_step


_adamw = _adamw_by()


def _optimiser_cases(seed: int, *decays: float) -> Iterator[_Case]:
    randn = _numbers(seed)
    for decay in decays:
        p, g = randn(3, 4), randn(3, 4)
        yield p, g, torch.zeros(3, 4), torch.zeros(3, 4), 1, 0.1, (0.9, 0.95), 0.02, decay
        yield randn(5), randn(5), randn(5), 0.5 + randn(5) ** 2, 3, 0.3, (0.8, 0.98), 0.05, decay
        yield randn(2, 6), randn(2, 6), randn(2, 6), 0.5 + randn(2, 6) ** 2, 9, 0.2, (0.95, 0.7), 0.01, decay


def _moments_alone(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[1:] if isinstance(result, tuple | list) and len(result) == 3 else result


def _parameter_alone(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[0] if isinstance(result, tuple | list) and len(result) == 3 else result


def _decay_in_gradient(p: Tensor, g: Tensor, *case: Any) -> _Step:
    *case_before, decay = case
    return _adamw(p, g + decay * p, *case_before, 0.0)


def _decay_in_direction(
    p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: int, lr: float, betas: _Betas, eps: float, decay: float
) -> _Step:
    m, v = _moments(g, m, v, betas)
    ahead = _corrected(m, betas[0], step) + decay * p
    return p - lr * ahead / (_corrected(v, betas[1], step).sqrt() + eps), m, v


def _decay_after(*case: Any) -> _Step:
    *before, decay = case
    p, m, v = _adamw(*before, 0.0)
    return p * (1 - case[5] * decay), m, v


def _corrected_kept(*case: Any) -> _Step:
    p, m, v = _adamw(*case)
    step, betas = case[4], case[6]
    return p, _corrected(m, betas[0], step), _corrected(v, betas[1], step)


def _mean_squared(g: Tensor, m: Tensor, v: Tensor, betas: _Betas) -> tuple[Tensor, Tensor]:
    m, _ = _moments(g, m, v, betas)
    return m, betas[1] * v + (1 - betas[1]) * m * m


def _step_with(p: Tensor, g: Tensor, m: Tensor, v: Tensor, *case: Any) -> _Step:
    """With the moments from before, and the right new ones handed back."""
    step, lr, betas, eps, decay = case
    return p * (1 - lr * decay) - lr * _direction(m, v, step, betas, eps), *_moments(g, m, v, betas)


def _gradient_not_mean(p: Tensor, g: Tensor, m: Tensor, v: Tensor, *case: Any) -> _Step:
    step, lr, betas, eps, decay = case
    m, v = _moments(g, m, v, betas)
    return p * (1 - lr * decay) - lr * g / (_corrected(v, betas[1], step).sqrt() + eps), m, v


_MOMENT_MISTAKES: dict[str, Callable[..., Any]] = {
    "betas_swapped": _adamw_by(lambda g, m, v, betas: _moments(g, m, v, betas[::-1])),
    "shares_swapped": _adamw_by(lambda g, m, v, betas: _moments(g, m, v, (1 - betas[0], 1 - betas[1]))),
    "shares_missing": _adamw_by(lambda g, m, v, betas: (betas[0] * m + g, betas[1] * v + g * g)),
    "added_up": _adamw_by(lambda g, m, v, betas: (m + g, v + g * g)),
    "not_squared": _adamw_by(lambda g, m, v, betas: (_moments(g, m, v, betas)[0], betas[1] * v + (1 - betas[1]) * g)),
    "mean_squared": _adamw_by(_mean_squared),
    "not_renewed": _adamw_by(lambda g, m, v, betas: (m, v)),
    "corrected_kept": _corrected_kept,
    "decay_in_gradient": _decay_in_gradient,
    "other_order": lambda *case: tuple(_adamw(*case)[i] for i in (0, 2, 1)),
}
_PARAMETER_MISTAKES: dict[str, Callable[..., Any]] = {
    "no_correction": _adamw_by(direction=lambda m, v, step, betas, eps: m / (v.sqrt() + eps)),
    "mean_corrected_only": _adamw_by(
        direction=lambda m, v, step, betas, eps: _corrected(m, betas[0], step) / (v.sqrt() + eps)
    ),
    "square_corrected_only": _adamw_by(
        direction=lambda m, v, step, betas, eps: m / (_corrected(v, betas[1], step).sqrt() + eps)
    ),
    "one_step_ahead": _adamw_by(direction=lambda m, v, step, betas, eps: _direction(m, v, step + 1, betas, eps)),
    "one_step_behind": _adamw_by(direction=lambda m, v, step, betas, eps: _direction(m, v, step - 1, betas, eps)),
    "correction_of_step_1": _adamw_by(direction=lambda m, v, step, betas, eps: _direction(m, v, 1, betas, eps)),
    "correction_outside_root": _adamw_by(
        direction=lambda m, v, step, betas, eps: (
            _corrected(m, betas[0], step) / (_corrected(v.sqrt(), betas[1], step) + eps)
        )
    ),
    "eps_inside_root": _adamw_by(
        direction=lambda m, v, step, betas, eps: (
            _corrected(m, betas[0], step) / (_corrected(v, betas[1], step) + eps).sqrt()
        )
    ),
    "eps_before_correction": _adamw_by(
        direction=lambda m, v, step, betas, eps: (
            _corrected(m, betas[0], step) / ((v.sqrt() + eps) / math.sqrt(1 - betas[1] ** step))
        )
    ),
    "eps_missing": _adamw_by(direction=lambda m, v, step, betas, eps: _direction(m, v, step, betas, 0.0)),
    "root_missing": _adamw_by(
        direction=lambda m, v, step, betas, eps: _corrected(m, betas[0], step) / (_corrected(v, betas[1], step) + eps)
    ),
    "uphill": _adamw_by(direction=lambda *moments: -_direction(*moments)),
    "gradient_not_mean": _gradient_not_mean,
    "moments_from_before": _step_with,
    "plain_descent": lambda p, g, m, v, step, lr, betas, eps, decay: (p - lr * g, *_moments(g, m, v, betas)),
}
_DECAY_PLACES: dict[str, Callable[..., Any]] = {
    "decay_missing": _adamw_by(shrunk=lambda p, lr, decay: p),
    "decay_without_rate": _adamw_by(shrunk=lambda p, lr, decay: p * (1 - decay)),
    "decay_grows": _adamw_by(shrunk=lambda p, lr, decay: p * (1 + lr * decay)),
    "decay_to_the_rate": _adamw_by(shrunk=lambda p, lr, decay: p * decay),
    "decay_in_direction": _decay_in_direction,
    "decay_in_gradient": _decay_in_gradient,
    "decay_after": _decay_after,
}


# --- accumulated ------------------------------------------------------------------------------------------------------

_Parts = list[tuple[Tensor, Tensor]]


class _Used(nn.Sequential):
    """A model that has learned before: its copies have old gradients, which ``deepcopy`` would leave out."""

    def __deepcopy__(self, memo: Any) -> "_Used":
        new = _Used(*(copy.deepcopy(part, memo) for part in self))
        for parameter in new.parameters():
            parameter.grad = torch.ones_like(parameter)
        return new


def _small_model(
    seed: int, vocabulary: int, width: int, between: nn.Module | None = None, kind: type[nn.Sequential] = nn.Sequential
) -> nn.Module:
    model = kind(nn.Embedding(vocabulary, width), between or nn.Identity(), nn.Linear(width, vocabulary))
    randn = _numbers(seed)
    for parameter in model.parameters():
        parameter.data = 0.7 * randn(*parameter.shape)
    return model


def _parts(seed: int, vocabulary: int, *sizes: tuple[int, int, int]) -> _Parts:
    """Micro-batches of (rows, positions, targets that count)."""
    ids, parts = _ids(seed, vocabulary), []
    for rows, length, count in sizes:
        targets = ids(rows * length)
        targets[count:] = -100
        parts.append((ids(rows, length), targets.view(rows, length)))
    return parts


def _unequal_parts() -> Iterator[_Case]:
    yield _small_model(60, 7, 3), _parts(61, 7, (2, 5, 10), (3, 6, 4), (1, 4, 2))
    yield _small_model(62, 5, 4), _parts(63, 5, (3, 4, 1), (2, 7, 8))


def _an_empty_part() -> Iterator[_Case]:
    yield _small_model(64, 6, 4), _parts(65, 6, (2, 5, 7), (3, 5, 0), (1, 5, 2))


def _old_gradients() -> Iterator[_Case]:
    yield _small_model(66, 6, 4, kind=_Used), _parts(67, 6, (2, 5, 7), (3, 4, 2))


def _added_to_old(model: nn.Module, parts: _Parts) -> list[Tensor]:
    return [1 + gradient for gradient in _accumulated(model, parts)]


def _gradients_of(loss: Callable[[nn.Module, _Parts], Any]) -> Callable[[nn.Module, _Parts], list[Tensor]]:
    return lambda model, parts: list(torch.autograd.grad(loss(model, parts), list(model.parameters())))


def _sums(model: nn.Module, parts: _Parts) -> Tensor:
    return torch.stack([_each(model(ids), targets).sum() for ids, targets in parts])


def _counts(parts: _Parts) -> Tensor:
    return torch.tensor([int((targets != -100).sum()) for _, targets in parts])


def _rows(parts: _Parts) -> Tensor:
    return torch.tensor([len(ids) for ids, _ in parts])


def _positions(parts: _Parts) -> Tensor:
    return torch.tensor([ids.numel() for ids, _ in parts])


def _means(model: nn.Module, parts: _Parts) -> Tensor:
    return _sums(model, parts) / _counts(parts)


def _means_by_hand(model: nn.Module, parts: _Parts) -> Tensor:
    """With masks, and not by leaving out: for a part without targets, nan goes back to all that it has read."""
    means = []
    for ids, targets in parts:
        real = targets != -100
        nats = _each(model(ids), targets.clamp(min=0)).view_as(targets)
        means.append((nats * real).sum() / real.sum())
    return torch.stack(means)


def _shifted_again(model: nn.Module, parts: _Parts) -> Tensor:
    sums = [_each(model(ids)[:, :-1], targets[:, 1:]).sum() for ids, targets in parts]
    return torch.stack(sums).sum() / _counts([(ids, targets[:, 1:]) for ids, targets in parts]).sum()


_accumulated = _gradients_of(lambda model, parts: _sums(model, parts).sum() / _counts(parts).sum())

_ACCUMULATION_MISTAKES: dict[str, Callable[..., Any]] = {
    "mean_of_means": _gradients_of(lambda model, parts: _means(model, parts).mean()),
    "means_added": _gradients_of(lambda model, parts: _means(model, parts).sum()),
    "never_divided": _gradients_of(lambda model, parts: _sums(model, parts).sum()),
    "divided_by_parts": _gradients_of(lambda model, parts: _sums(model, parts).sum() / len(parts)),
    "divided_by_positions": _gradients_of(lambda model, parts: _sums(model, parts).sum() / _positions(parts).sum()),
    "divided_by_rows": _gradients_of(lambda model, parts: _sums(model, parts).sum() / _rows(parts).sum()),
    "divided_by_the_last": _gradients_of(lambda model, parts: _sums(model, parts).sum() / _counts(parts)[-1]),
    "weighed_by_rows": _gradients_of(
        lambda model, parts: (_means(model, parts) * _rows(parts)).sum() / _rows(parts).sum()
    ),
    "weighed_by_positions": _gradients_of(
        lambda model, parts: (_means(model, parts) * _positions(parts)).sum() / _positions(parts).sum()
    ),
    "last_only": _gradients_of(lambda model, parts: _means(model, parts)[-1]),
    "first_only": _gradients_of(lambda model, parts: _means(model, parts)[0]),
    "earlier_thrown_away": _gradients_of(lambda model, parts: _sums(model, parts)[-1] / _counts(parts).sum()),
    "shifted_again": _gradients_of(_shifted_again),
}


# --- careful_training -------------------------------------------------------------------------------------------------

_Batch = tuple[Tensor, Tensor]


class _Unsteady(nn.Module):
    """Like dropout, but always the same half is dropped: so a mistake can be computed whatever the random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x * (torch.arange(x.shape[-1]) % 2) if self.training else x


def _shortened(gradients: list[Tensor], clip: float) -> list[Tensor]:
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    return [g * (clip / norm).clamp(max=1) for g in gradients]


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup)


def _training_by(
    shorten: Callable[[list[Tensor], float], list[Tensor]] = _shortened,
    rate: Callable[[int, int], float] = _warm,
    learning_mode: Callable[[int], bool] = lambda step: True,
    validation_mode: bool = False,
    old_gradients: float = 0.0,
) -> Callable[..., list[float]]:
    """A training in which one part may be another one. Modes: True is for learning."""

    def training(
        model: nn.Module, batches: Sequence[_Batch], validation: _Batch, lr: float, warmup: int, clip: float
    ) -> list[float]:
        model, losses = copy.deepcopy(model), []
        parameters = list(model.parameters())
        gradients = [torch.zeros_like(p) for p in parameters]
        for step, (ids, targets) in enumerate(batches):
            model.train(learning_mode(step))
            new = torch.autograd.grad(_nats(model(ids), targets), parameters)
            gradients = shorten([g + old_gradients * o for g, o in zip(new, gradients, strict=True)], clip)
            model.train(validation_mode)
            with torch.no_grad():
                for p, g in zip(parameters, gradients, strict=True):
                    p.sub_(lr * rate(step, warmup) * g)
                losses.append(_nats(model(validation[0]), validation[1]).item())
        return losses

    return training


def _trainings(seed: int, between: nn.Module | None, warmup: int, *clips: float) -> Callable[[], Iterator[_Case]]:
    def cases() -> Iterator[_Case]:
        for (offset, vocabulary, width, steps), clip in zip(((0, 7, 4, 5), (1, 5, 6, 6)), clips, strict=True):
            parts = _parts(seed + offset, vocabulary, *[(2, 3, 6)] * (steps + 1))
            yield _small_model(seed + offset, vocabulary, width, between), parts[1:], parts[0], 0.8, warmup, clip

    return cases


_training = _training_by()

_CLIP_MISTAKES: dict[str, Callable[..., Any]] = {
    "gradients_add_up": _training_by(old_gradients=1.0),
    "nothing_learned": _training_by(rate=lambda step, warmup: 0.0),
    "clips_too_late": _training_by(lambda gradients, clip: gradients),
    "each_number_clipped": _training_by(lambda gradients, clip: [g.clamp(-clip, clip) for g in gradients]),
    "each_parameter_clipped": _training_by(lambda gradients, clip: [_shortened([g], clip)[0] for g in gradients]),
    "always_that_long": _training_by(
        lambda gradients, clip: [g * clip / torch.cat([x.flatten() for x in gradients]).norm() for g in gradients]
    ),
}
_RATE_MISTAKES: dict[str, Callable[..., Any]] = {
    "factors_multiply_up": _training_by(
        rate=lambda step, warmup: math.prod(_warm(s, warmup) for s in range(step + 1)),
    ),
    "warmup_gone": _training_by(rate=lambda step, warmup: 1.0),
    "first_step_lost": _training_by(rate=lambda step, warmup: min(1.0, step / warmup)),
    "rises_on": _training_by(rate=lambda step, warmup: (step + 1) / warmup),
    "one_step_late": _training_by(rate=lambda step, warmup: _warm(step - 1, warmup) if step else 1.0),
}
_MODE_MISTAKES: dict[str, Callable[..., Any]] = {
    "stays_in_evaluation": _training_by(learning_mode=lambda step: step == 0),
    "always_in_evaluation": _training_by(learning_mode=lambda step: False),
    "validates_with_dropout": _training_by(validation_mode=True),
    "modes_exchanged": _training_by(learning_mode=lambda step: False, validation_mode=True),
}


# --- judge_resuming ---------------------------------------------------------------------------------------------------


class _Training:
    """A right one: a small regression with momentum, warm-up, epochs in random order and noise like dropout's."""

    def __init__(self) -> None:
        randn = _numbers(70)
        self._x, self._y = randn(6, 4, 3), randn(6, 4)
        self.weights, self.momentum = randn(3), torch.zeros(3)
        self.done, self.place, self.order = 0, 0, torch.arange(0)
        self.order_numbers = torch.Generator().manual_seed(90)
        self.noise_numbers = torch.Generator().manual_seed(72)

    def _new_order(self) -> Tensor:
        return torch.randperm(6, generator=self.order_numbers)

    def _next_batch(self) -> int:
        if self.place == len(self.order):
            self.order, self.place = self._new_order(), 0
        self.place += 1
        return int(self.order[self.place - 1])

    def _noise(self) -> Tensor:
        return (torch.rand(4, 3, generator=self.noise_numbers) < 0.8).float()

    def step(self) -> float:
        batch = self._next_batch()
        x, y = self._x[batch] * self._noise(), self._y[batch]
        error = x @ self.weights - y
        self.momentum.mul_(0.9).add_(error @ x / 2)
        self.weights.sub_(0.05 * _warm(self.done, 5) * self.momentum)
        self.done += 1
        return float(error.square().mean())

    def state_dict(self) -> Any:
        return {
            "weights": self.weights.clone(),
            "momentum": self.momentum.clone(),
            "done": self.done,
            "place": self.place,
            "order": self.order.clone(),
            "order_numbers": self.order_numbers.get_state(),
            "noise_numbers": self.noise_numbers.get_state(),
        }

    def load_state_dict(self, state: Any) -> None:
        self.weights, self.momentum = state["weights"].clone(), state["momentum"].clone()
        self.done, self.place, self.order = state["done"], state["place"], state["order"].clone()
        self.order_numbers.set_state(state["order_numbers"])
        self.noise_numbers.set_state(state["noise_numbers"])


class _SharedNumbers(_Training):
    """A right one that draws from PyTorch's own random numbers, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        torch.default_generator.manual_seed(73)

    def _new_order(self) -> Tensor:
        return torch.randperm(6)

    def _noise(self) -> Tensor:
        return (torch.rand(4, 3) < 0.8).float()

    def state_dict(self) -> Any:
        return super().state_dict() | {"shared": torch.get_rng_state()}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        torch.set_rng_state(state["shared"])


class _Counting(_Training):
    """A right one in which all randomness follows from the number of the step; its state is a row of bytes."""

    def _new_order(self) -> Tensor:
        return torch.randperm(6, generator=torch.Generator().manual_seed(74 + self.done // 6))

    def _noise(self) -> Tensor:
        return (torch.rand(4, 3, generator=torch.Generator().manual_seed(900 + self.done)) < 0.8).float()

    def state_dict(self) -> Any:
        file = io.BytesIO()
        torch.save({"weights": self.weights, "momentum": self.momentum, "done": self.done}, file)
        return file.getvalue()

    def load_state_dict(self, state: Any) -> None:
        kept = torch.load(io.BytesIO(state), weights_only=True)
        self.weights, self.momentum, self.done = kept["weights"], kept["momentum"], kept["done"]
        if place := self.done % 6:
            self.done -= place  # the order belongs to the step that its epoch began with
            self.order, self.place, self.done = self._new_order(), place, kept["done"]


def _forgets(*names: str) -> type[_Training]:
    """One that puts these back to what a new training has."""

    class Forgets(_Training):
        def load_state_dict(self, state: Any) -> None:
            super().load_state_dict(state | {name: _Training().state_dict()[name] for name in names})

    return Forgets


class _NewOrder(_Training):
    """Keeps its place in the epoch, and shuffles anew."""

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.order = torch.randperm(6, generator=torch.Generator().manual_seed(75)) if self.place < 6 else self.order


class _SkipsABatch(_Training):
    """The next batch was fetched before the state was written, and is lost."""

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self._next_batch()


class _Rounds(_Training):
    def state_dict(self) -> Any:
        return super().state_dict() | {"weights": self.weights.half().float()}


class _LiveState(_Training):
    """Its state is the tensors themselves, and so changes with the next step."""

    def state_dict(self) -> Any:
        return super().state_dict() | {"weights": self.weights, "momentum": self.momentum}


class _SavingDisturbs(_Training):
    """After it was saved, the training that goes on misses a batch."""

    def state_dict(self) -> Any:
        state = super().state_dict()
        self._next_batch()
        return state


class _SavingDraws(_Training):
    """Saving it draws from its random numbers, so it and all that are resumed from it go another way."""

    def state_dict(self) -> Any:
        self._noise()
        return super().state_dict()


_RIGHT_TRAININGS: dict[str, Any] = {"own_numbers": _Training, "shared_numbers": _SharedNumbers, "counting": _Counting}
_BROKEN_TRAININGS: dict[str, Any] = {
    "restores_nothing": _forgets(*_Training().state_dict()),
    "forgets_place": _forgets("place", "order", "order_numbers"),
    "forgets_noise": _forgets("noise_numbers"),
    "forgets_step": _forgets("done"),
    "forgets_momentum": _forgets("momentum"),
    "skips_a_batch": _SkipsABatch,
    "shuffles_anew": _NewOrder,
    "forgets_next_epoch": _forgets("order_numbers"),
    "rounds": _Rounds,
    "live_state": _LiveState,
    "saving_draws": _SavingDraws,
    "saving_disturbs": _SavingDisturbs,
}


# --- orthogonalised ---------------------------------------------------------------------------------------------------

_JORDAN = (3.4445, -4.7750, 2.0315)
_CUBIC = (1.5, -0.5)
_QUINTIC = (1.875, -1.25, 0.375)
_SEPTIC = (2.1875, -2.1875, 1.3125, -0.3125)

_Coefficients = tuple[float, ...]


def _orthogonalised(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
    """By the singular values alone: what a learner does with products of matrices, seen from the other side."""
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    for _ in range(steps):
        s = sum(c * s ** (2 * i + 1) for i, c in enumerate(coefficients))
    return (u * s[..., None, :]) @ v


def _stacks(seed: int, *cases: tuple[tuple[int, int, int], _Coefficients, int]) -> Iterator[_Case]:
    """Each matrix has another length; none is so long that it explodes where nobody shortens it."""
    randn = _numbers(seed)
    for shape, coefficients, steps in cases:
        stack = randn(*shape)
        lengths = torch.linspace(0.5, 1.3, shape[0])[:, None, None]
        yield lengths * stack / stack.norm(dim=(1, 2), keepdim=True), coefficients, steps


def _three_coefficients() -> Iterator[_Case]:
    yield from _stacks(80, ((3, 4, 6), _JORDAN, 2), ((2, 5, 3), _QUINTIC, 3), ((4, 3, 3), _QUINTIC, 2))


def _more_or_fewer() -> Iterator[_Case]:
    yield from _stacks(81, ((2, 5, 3), _CUBIC, 4), ((3, 4, 7), _SEPTIC, 2), ((2, 3, 4), (1.5,), 2))


def _with_zeros() -> Iterator[_Case]:
    matrices, coefficients, steps = next(_stacks(82, ((3, 4, 6), _JORDAN, 2)))
    matrices[1] = 0
    yield matrices, coefficients, steps


def _iterated(
    renew: Callable[[Tensor, _Coefficients], Tensor],
    shorten: Callable[[Tensor], Tensor] = lambda x: x / x.norm(dim=(-2, -1), keepdim=True),
    more: int = 0,
) -> Callable[[Tensor, _Coefficients, int], Tensor]:
    def iterated(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
        x = shorten(matrices.double())
        for _ in range(steps + more):
            x = renew(x, coefficients)
        return x

    return iterated


def _polynomial(x: Tensor, coefficients: _Coefficients) -> Tensor:
    """c0 X + c1 (XXᵀ) X + c2 (XXᵀ)² X + …"""
    gram, power, total = x @ x.mT, x, torch.zeros_like(x)
    for c in coefficients:
        total, power = total + c * power, gram @ power
    return total


def _powers_of_entries(x: Tensor, coefficients: _Coefficients) -> Tensor:
    return torch.stack([c * x ** (2 * i + 1) for i, c in enumerate(coefficients)]).sum(dim=0)


def _number_for_identity(x: Tensor, coefficients: _Coefficients) -> Tensor:
    """The first coefficient added to each entry of the matrix, not to its diagonal."""
    gram = x @ x.mT
    factor, power = torch.full_like(gram, coefficients[0]), gram
    for c in coefficients[1:]:
        factor, power = factor + c * power, gram @ power
    return factor @ x


def _gram_kept(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
    x = matrices.double() / matrices.double().norm(dim=(-2, -1), keepdim=True)
    gram = x @ x.mT
    for _ in range(steps):
        power, total = x, torch.zeros_like(x)
        for c in coefficients:
            total, power = total + c * power, gram @ power
        x = total
    return x


def _norm_put_back(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
    return _orthogonalised(matrices, coefficients, steps) * matrices.norm(dim=(-2, -1), keepdim=True)


def _perfect(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
    u, _, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    return u @ v


def _size_of_muon(matrices: Tensor, coefficients: _Coefficients, steps: int) -> Tensor:
    return 0.2 * max(matrices.shape[-2:]) ** 0.5 * _orthogonalised(matrices, coefficients, steps)


_MATRIX_MISTAKES: dict[str, Callable[..., Any]] = {
    "not_shortened": _iterated(_polynomial, lambda x: x),
    "shortened_together": _iterated(_polynomial, lambda x: x / x.norm()),
    "by_largest_value": _iterated(_polynomial, lambda x: x / torch.linalg.matrix_norm(x, 2, keepdim=True)),
    "by_largest_entry": _iterated(_polynomial, lambda x: x / x.abs().amax(dim=(-2, -1), keepdim=True)),
    "each_row_shortened": _iterated(_polynomial, lambda x: F.normalize(x, dim=-1)),
    "shortened_each_time": _iterated(
        lambda x, coefficients: _polynomial(x / x.norm(dim=(-2, -1), keepdim=True), coefficients)
    ),
    "powers_of_entries": _iterated(_powers_of_entries),
    "coefficients_reversed": lambda x, cs, steps: _orthogonalised(x, cs[::-1], steps),
    "square_forgotten": _iterated(lambda x, cs: cs[0] * x + sum(cs[1:]) * x @ x.mT @ x),
    "number_for_identity": _iterated(_number_for_identity),
    "one_power_too_high": _iterated(lambda x, cs: x @ x.mT @ _polynomial(x, cs)),
    "product_kept": _gram_kept,
    "one_step": lambda x, cs, steps: _orthogonalised(x, cs, 1),
    "one_step_too_many": lambda x, cs, steps: _orthogonalised(x, cs, steps + 1),
    "one_step_too_few": lambda x, cs, steps: _orthogonalised(x, cs, steps - 1),
    "turned": lambda x, cs, steps: _orthogonalised(x.mT if x.shape[1] > x.shape[2] else x, cs, steps),
    "norm_put_back": _norm_put_back,
    "size_of_muon": _size_of_muon,
    "perfect": _perfect,
    "of_the_chapter": lambda x, cs, steps: _orthogonalised(x, _JORDAN, steps),
}


EXERCISES = [
    Exercise(
        "next_token_loss",
        minutes=8,
        difficulty=1,
        section="1",
        steps=[
            Gives("all_count", reference=_next_token_loss, cases=_all_count, mistakes=_LOSS_MISTAKES),
            Gives("ignored", reference=_next_token_loss, cases=_some_ignored, mistakes=_IGNORED_MISTAKES),
            learns,
        ],
    ),
    Exercise(
        "learning_rate",
        minutes=10,
        difficulty=1,
        section="5",
        steps=[
            Gives("warm", reference=_rate, cases=_WARM_STEPS, mistakes=_WARM_MISTAKES),
            Gives("decays", reference=_rate, cases=_LATER_STEPS, mistakes=_DECAY_MISTAKES),
            Gives("edges", reference=_rate, cases=_EDGES),
        ],
    ),
    Exercise(
        "adamw_step",
        minutes=15,
        difficulty=2,
        section="3",
        seconds=30.0,  # whoever compares with torch.optim waits for what that imports
        steps=[
            Gives(
                "moments",
                reference=_adamw,
                cases=lambda: _optimiser_cases(58, 0.3, 0.0),
                mistakes=_MOMENT_MISTAKES,
                call=_moments_alone,
            ),
            Gives(
                "parameter",
                reference=_adamw,
                cases=lambda: _optimiser_cases(59, 0.0),
                mistakes=_PARAMETER_MISTAKES,
                call=_parameter_alone,
            ),
            Gives("decay", reference=_adamw, cases=lambda: _optimiser_cases(60, 0.4), mistakes=_DECAY_PLACES),
        ],
    ),
    Exercise(
        "accumulated",
        minutes=12,
        difficulty=2,
        section="5",
        steps=[
            Gives("unequal", reference=_accumulated, cases=_unequal_parts, mistakes=_ACCUMULATION_MISTAKES),
            Gives(
                "again",
                reference=_accumulated,
                cases=_old_gradients,
                mistakes={"old_gradients_kept": _added_to_old},
            ),
            Gives(
                "empty",
                reference=_accumulated,
                cases=_an_empty_part,
                mistakes={
                    "empty_part_nan": _gradients_of(
                        lambda model, parts: (
                            (_means_by_hand(model, parts) * _counts(parts)).sum() / _counts(parts).sum()
                        )
                    )
                },
            ),
        ],
    ),
    Exercise(
        "careful_training",
        minutes=15,
        difficulty=2,
        section="6",
        seconds=30.0,
        steps=[
            Gives(
                "clips",
                reference=_training,
                cases=_trainings(66, None, 1, 0.9, 0.3),
                mistakes=_CLIP_MISTAKES | _RATE_MISTAKES,
            ),
            Gives("warms_up", reference=_training, cases=_trainings(67, None, 4, 9.0, 9.0), mistakes=_RATE_MISTAKES),
            Gives(
                "modes", reference=_training, cases=_trainings(68, _Unsteady(), 1, 9.0, 9.0), mistakes=_MODE_MISTAKES
            ),
            Gives("together", reference=_training, cases=_trainings(69, _Unsteady(), 3, 1.5, 1.2)),
        ],
    ),
    Exercise(
        "judge_resuming",
        minutes=25,
        difficulty=3,
        section="10",
        steps=[Catches("judges", right=_RIGHT_TRAININGS, broken=_BROKEN_TRAININGS)],
    ),
    Exercise(
        "orthogonalised",
        minutes=20,
        difficulty=3,
        section="4",
        steps=[
            Gives(
                "three",
                reference=_orthogonalised,
                cases=_three_coefficients,
                mistakes=_MATRIX_MISTAKES,
                tolerance=1e-3,
            ),
            Gives(
                "any_number",
                reference=_orthogonalised,
                cases=_more_or_fewer,
                mistakes=_MATRIX_MISTAKES,
                tolerance=1e-3,
            ),
            Gives(
                "zeros",
                reference=_orthogonalised,
                cases=_with_zeros,
                mistakes={"nan_for_zeros": _iterated(_polynomial)},
                tolerance=1e-3,
            ),
        ],
    ),
]
