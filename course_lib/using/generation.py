"""Generation: a model that says how probable each next token is writes a text, one token after the other.

Greedy takes the likeliest each time; sampling draws, more or less boldly (temperature: Ackley et al. 1985, section 2).
Both look one token ahead. Beam search keeps several beginnings and judges whole texts (Wu et al. 2016, section 7).

Sizes: B sequences, T tokens of the prompt, N with the new ones, S source tokens, V vocabulary, K beams.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.layers.positions import Learned, PositionScheme
from course_lib.models.decoder import GPT
from course_lib.models.encoder_decoder import Transformer
from course_lib.models.parts import check_ids
from course_lib.training.measuring import evaluating


def generate(
    model: GPT,
    prompt: Int[Tensor, "B T"],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
    cache: bool = True,
) -> Int[Tensor, "B N"]:
    """The prompt and at most ``max_tokens`` new ids, each drawn from ``next_probabilities``; temperature 0 is greedy.

    Without a ``generator``, PyTorch's own random numbers are used, those that ``seed_everything`` starts. A row ends
    when it writes ``stop_id``, and is filled up with it until all have ended. Without ``cache`` the whole text is read
    again for each token: the same ids, slowly. Raises ValueError where learned positions do not reach that far.
    """
    steps = _steps(model, prompt, max_tokens, temperature, generator, stop_id, cache)
    many = cache and max_tokens >= 32
    with evaluating(model), _stored_by_columns(model) if many else nullcontext():
        return torch.cat([prompt, *(chosen for chosen, _ in steps)], dim=1)


def stream(
    model: GPT,
    prompt: Int[Tensor, "1 T"],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
) -> Iterator[tuple[int, Float[Tensor, "V"]]]:
    """What ``generate`` writes, id by id, as soon as each is there, with the probabilities that it was drawn from."""
    if len(prompt) != 1:
        raise ValueError(f"prompt has {len(prompt)} rows: a stream is one text, give it as (1, T)")
    steps = _steps(model, prompt, max_tokens, temperature, generator, stop_id, True)

    def one_by_one() -> Iterator[tuple[int, Tensor]]:
        while True:
            with evaluating(model):  # not in between, where the caller may do anything with the model
                step = next(steps, None)
            if step is None:
                return
            chosen, logits = step
            yield int(chosen), next_probabilities(logits, temperature)[0]

    return one_by_one()


def next_probabilities(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]:
    """softmax(logits / temperature). Below 1 the likely gets likelier, above 1 less so; 0 gives the likeliest all."""
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    return ((logits - logits.amax(dim=-1, keepdim=True)) / temperature).softmax(dim=-1)  # no overflow close to 0


def draw_ids(probabilities: Float[Tensor, "B V"], generator: torch.Generator | None = None) -> Int[Tensor, "B 1"]:
    """One id for each row: where a dart falls on a line that gives each id as much room as it is probable.

    The dart is thrown where the generator is, so every machine draws the same ids (``torch.multinomial`` does not).
    """
    device = "cpu" if generator is None else generator.device
    dart = 1 - torch.rand(len(probabilities), 1, generator=generator, device=device)  # above 0: on no id without room
    ends = probabilities.cumsum(dim=-1)
    return torch.searchsorted(ends, dart.to(ends) * ends[:, -1:])


def _steps(
    model: GPT,
    prompt: Tensor,
    max_tokens: int,
    temperature: float,
    generator: torch.Generator | None,
    stop_id: int | None,
    cache: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The next ids (B, 1) and the logits (B, V) they come from, again and again. Misuse is refused here, at once."""
    check_ids("prompt", prompt, model.config.vocabulary)
    check_at_least_one("max_tokens", max_tokens)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: it must be 0 (the likeliest token) or above")
    _check_id("stop_id", stop_id, model.config.vocabulary)
    _check_reach(model.positions, "prompt and max_tokens", prompt.shape[1] + max_tokens - 1)  # the last is not read

    def steps(ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        caches = model.new_caches() if cache else None
        ended = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
        for _ in range(max_tokens):
            with torch.inference_mode():
                logits = model.head(model.hidden(ids, caches=caches)[:, -1])
                if temperature == 0:
                    chosen = logits.argmax(dim=-1, keepdim=True)
                else:
                    chosen = draw_ids(next_probabilities(logits, temperature), generator)
            if stop_id is not None:
                chosen = chosen.masked_fill(ended, stop_id)
                ended = chosen == stop_id
            yield chosen, logits
            if stop_id is not None and ended.all():
                return
            ids = chosen if cache else torch.cat([ids, chosen], dim=1)

    return steps(prompt)


def translate(
    model: Transformer,
    source: Int[Tensor, "B S"],
    source_real: Bool[Tensor, "B S"] | None = None,
    *,
    begin_id: int,
    end_id: int,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 0.6,
) -> list[list[int]]:
    """For each source the best target that beam search finds, without ``begin_id`` and ``end_id``. One beam is greedy.

    ``beams`` beginnings are kept. Every token is tried behind each; the likeliest of all results go on, and those of
    them that end are set aside. When ``beams`` have ended, or at ``max_tokens``, the best one is that with the highest
    log P / ((5 + length) / 6)^``length_penalty``, its end counted (Wu et al. 2016, eq. 14). With 0 that is the most
    probable one, which is often too short; 4 beams and 0.6 are those of Vaswani et al. 2017, section 6.1.
    """
    vocabulary = model.config.vocabulary
    for name, value in {"max_tokens": max_tokens, "beams": beams}.items():
        check_at_least_one(name, value)
    _check_id("begin_id", begin_id, vocabulary)
    _check_id("end_id", end_id, vocabulary)
    if not 0 <= length_penalty < math.inf:
        raise ValueError(f"length_penalty is {length_penalty}: it must be 0 or above, as 0.6")
    _check_reach(model.target_positions, "max_tokens", max_tokens)
    with evaluating(model), torch.inference_mode():
        memory = model.encode(source, source_real).repeat_interleave(beams, dim=0)
        memory_real = None if source_real is None else source_real.repeat_interleave(beams, dim=0)
        caches = model.new_caches()
        texts = torch.full((len(memory), 1), begin_id, device=source.device)  # (B · K, length)
        first = torch.arange(0, len(memory), beams, device=source.device)[:, None]  # the first text of each source
        ended: list[list[tuple[float, list[int]]]] = [[] for _ in source]
        total = memory.new_full((len(source), beams), -math.inf, dtype=torch.float32)
        total[:, 0] = 0  # the K beginnings are still alike: one counts
        for length in range(1, max_tokens + 1):
            logits = model.decode(texts[:, -1:], memory, memory_real, caches)[:, -1]
            total = total.view(-1, 1) + logits.log_softmax(dim=-1)
            total, index = total.view(len(source), -1).topk(2 * beams)  # at most K of these end, so K can go on
            rows, tokens = first + index // vocabulary, index % vocabulary
            ends = (tokens == end_id) | (length == max_tokens)
            unfinished = [len(targets) < beams for targets in ended]
            for b, k in (ends & total.isfinite())[:, :beams].nonzero().tolist():
                if unfinished[b]:
                    score = float(total[b, k]) / ((5 + length) / 6) ** length_penalty
                    ended[b].append((score, [*texts[rows[b, k], 1:].tolist(), int(tokens[b, k])]))
            if all(len(targets) >= beams for targets in ended):
                break
            total, best = total.masked_fill(ends, -math.inf).topk(beams)
            rows, tokens = rows.gather(1, best).flatten(), tokens.gather(1, best)
            texts = torch.cat([texts[rows], tokens.view(-1, 1)], dim=1)
            for cache in caches:
                cache.target.select(rows)  # the memory is the same for all texts of a source
    winners = [max(targets)[1] for targets in ended]
    return [ids[:-1] if ids[-1] == end_id else ids for ids in winners]


@contextmanager
def _stored_by_columns(model: nn.Module) -> Iterator[None]:
    """Inside, wide matrices lie in memory column by column: the same numbers, at other places.

    A CPU multiplies one row with such a matrix in half the time (384 → 1,536, float32: measured). Storing them so takes
    as long as a few tokens.
    """
    wide = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features > m.in_features]
    kept = {m: m.weight.data for m in wide if m.weight.device.type == "cpu" and m.weight.dtype == torch.float32}
    for linear, by_rows in kept.items():
        linear.weight.data = by_rows.T.contiguous().T
    try:
        yield
    finally:
        for linear, by_rows in kept.items():
            linear.weight.data = by_rows


def _check_id(name: str, value: int | None, vocabulary: int) -> None:
    if value is not None and not 0 <= value < vocabulary:
        raise ValueError(f"{name} is {value}: it must be from 0 to {vocabulary - 1}")


def _check_reach(positions: PositionScheme, what: str, length: int) -> None:
    if isinstance(positions, Learned) and length > positions.table.num_embeddings:
        raise ValueError(
            f"{what} need {length} positions, but only {positions.table.num_embeddings} were learned: make them shorter"
        )
