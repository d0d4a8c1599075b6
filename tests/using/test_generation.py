"""Writing: the ids of Hugging Face, with a cache or without; where it stops; what it leaves as it was."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

from course_lib.models.decoder import GPT, gpt2_config
from course_lib.models.parts import POSITIONS
from course_lib.using.generation import draw_ids, generate, next_probabilities, stream
from tests.layers.helpers import assert_same, randn, randomized, seeded, unchecked, wrong
from tests.models.helpers import CONTEXT, KV, LAYERS, B, D, F, H, T, V, from_gpt2, gpt, load, random_ids
from tests.using.helpers import recorded

PROMPT = random_ids(B, T)
N = 7  # new tokens
GREEDY, SAMPLED = 0.0, 0.8
TEMPERATURES = pytest.mark.parametrize("temperature", [GREEDY, SAMPLED], ids=["greedy", "sampled"])


def written(model: GPT, prompt: Tensor = PROMPT, **options: Any) -> Tensor:
    usual: dict[str, Any] = {"max_tokens": N, "generator": seeded(3)}
    return generate(model, prompt, **(usual | options))


def mildly(**changes: Any) -> GPT:
    """Logits near 1: draws are open, and no token takes all."""
    model = gpt(**changes)
    for parameter in model.parameters():
        parameter.data /= 3
    return model


# --- the same as others write ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> tuple[Any, GPT]:
    """Hugging Face's GPT-2 and ours with its weights, in float64."""
    config = GPT2Config(vocab_size=V, n_positions=CONTEXT, n_layer=LAYERS, n_head=H, n_embd=D, n_inner=F)
    config.bos_token_id = config.eos_token_id = None
    theirs: Any = randomized(GPT2LMHeadModel(config)).eval()
    ours = GPT(gpt2_config(V, CONTEXT, LAYERS, H, D, hidden=F)).double().eval()
    load(ours, from_gpt2(dict(theirs.named_parameters())))
    return theirs, ours


def theirs_writes(theirs: Any, **options: Any) -> Tensor:
    return theirs.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=N, pad_token_id=0, **options)


def test_greedy_writes_what_hugging_face_writes(pair):
    theirs, ours = pair
    expected = theirs_writes(theirs, do_sample=False)
    assert written(ours, temperature=GREEDY).tolist() == expected.tolist()
    stop = int(expected[0, T + 2])
    stopped = theirs_writes(theirs, do_sample=False, eos_token_id=stop).tolist()
    filled = [
        [stop if i > row.index(stop, T) else x for i, x in enumerate(row)] if stop in row[T:] else row
        for row in stopped
    ]
    assert written(ours, temperature=GREEDY, stop_id=stop).tolist() == filled


def drawn(probabilities: list[float], dart: float) -> int:
    """The id on whose piece of the line the dart falls: (end of the piece before, end of the piece]."""
    ends = itertools.accumulate(probabilities)
    return next(i for i, end in enumerate(ends) if dart <= end)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_sampling_draws_from_hugging_faces_probabilities(pair, temperature):
    theirs, ours = pair
    generator, rows = seeded(8), PROMPT.tolist()
    for _ in range(N):
        with torch.no_grad():
            logits = theirs(torch.tensor(rows)).logits[:, -1]
        darts = 1 - torch.rand(B, 1, generator=generator)
        for row, p, dart in zip(rows, (logits / temperature).softmax(dim=-1).tolist(), darts, strict=True):
            row.append(drawn(p, float(dart)))
    assert written(ours, temperature=temperature, generator=seeded(8)).tolist() == rows
    torch.manual_seed(8)
    assert generate(ours, PROMPT, max_tokens=N, temperature=temperature).tolist() == rows


def test_a_draw_never_takes_what_has_no_probability_and_reaches_both_ends(monkeypatch):
    p = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    for rand, expected in {0.0: 3, 0.7499: 3, 0.7501: 1, 1 - 2**-24: 1}.items():
        monkeypatch.setattr(torch, "rand", lambda *_, rand=rand, **__: torch.tensor([[rand]]))
        assert draw_ids(p).tolist() == [[expected]]
        assert draw_ids(p * 1.0000001).tolist() == [[expected]]
    monkeypatch.undo()
    ids = draw_ids(torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).expand(9_999, 5), seeded(0))
    assert set(ids.flatten().tolist()) == {1, 3}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_each_token_comes_as_often_as_its_probability_says(temperature):
    rows = 10_000
    model = mildly(logit_cap=None)
    ids = written(model, PROMPT[:1, :2].expand(rows, 2), max_tokens=1, temperature=temperature)
    with torch.no_grad():
        logits = model(PROMPT[:1, :2])[0, -1].tolist()
    powers = [math.exp(x / temperature) for x in logits]
    counts = ids[:, -1].bincount(minlength=V).tolist()
    for count, power in zip(counts, powers, strict=True):
        p = power / sum(powers)
        assert abs(count - rows * p) < 4.5 * math.sqrt(rows * p * (1 - p)) + 1  # a wrong one in 10,000 runs of 23


# --- with a cache and without ----------------------------------------------------------------------------------------

PARTS = [{"positions": name} for name in POSITIONS] + [
    {"window": 3},
    {"window": 1, "positions": "alibi"},
    {"kv_heads": 1},
    {"kv_heads": KV, "window": 4, "positions": "t5"},
    {"block": "post", "norm": "layer", "qk_norm": False, "tied": True},
]


@TEMPERATURES
@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_with_a_cache_the_same_is_written_as_without(parts, temperature):
    model = mildly(**parts)
    # as every position is read by a forward pass over the whole text
    with_cache = written(model, temperature=temperature)
    assert torch.equal(written(model, temperature=temperature, cache=False), with_cache)
    assert with_cache.shape == (B, T + N)
    with torch.no_grad():
        likeliest = model(with_cache).argmax(dim=-1)
    assert torch.equal(likeliest[:, T - 1 : -1], with_cache[:, T:]) == (temperature == GREEDY)


def test_with_a_cache_each_token_is_read_once_and_only_the_last_one_is_scored(monkeypatch):
    model = mildly()
    read, scored = (recorded(monkeypatch, model, method) for method in ("hidden", "head"))
    written(model)
    assert read == [(B, T), *[(B, 1)] * (N - 1)]
    assert scored == [(B, D)] * N
    read.clear()
    scored.clear()
    written(model, cache=False)
    assert read == [(B, T + i) for i in range(N)]
    assert scored == [(B, D)] * N


# --- temperature -----------------------------------------------------------------------------------------------------


def test_temperature_is_the_power_of_the_probabilities():
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    squared = torch.tensor([[0.25, 0.09, 0.04]], dtype=torch.float64)
    assert_same(next_probabilities(logits, 1.0), logits.exp())
    assert_same(next_probabilities(logits, 0.5), squared / 0.38)
    assert_same(next_probabilities(logits + 100, 2.0), squared.sqrt().sqrt() / squared.sqrt().sqrt().sum())


def test_close_to_zero_a_temperature_is_greedy_and_nothing_overflows():
    logits = 1000 * randn(50, V, dtype=torch.float32)
    greedy = next_probabilities(logits, GREEDY)
    assert greedy.tolist() == [[float(i == row.argmax()) for i in range(V)] for row in logits]
    for temperature in (1e-6, 1e-36):
        assert torch.equal(next_probabilities(logits, temperature), greedy)
    model = mildly()
    assert torch.equal(written(model, temperature=1e-6), written(model, temperature=GREEDY))


def test_a_high_temperature_makes_all_tokens_alike():
    p = next_probabilities(randn(3, V), 1e9)
    assert_same(p, torch.full_like(p, 1 / V), atol=1e-8)


# --- where a text ends -----------------------------------------------------------------------------------------------


def ends(rows: Tensor, stop: int) -> list[int]:
    """Where each row writes ``stop`` first; 99 for never."""
    return [row.index(stop, T) if stop in row[T:] else 99 for row in rows.tolist()]


@TEMPERATURES
def test_a_row_that_has_ended_is_filled_up_and_the_others_go_on_as_before(temperature):
    model, prompt = mildly(), random_ids(9, T, seed=4)
    free = written(model, prompt, max_tokens=20, temperature=temperature)
    stop = max(range(V), key=lambda token: len(set(ends(free, token))))
    where = ends(free, stop)
    assert len(set(where)) > 2  # or there is nothing to see
    expected = [
        [x if i <= end else stop for i, x in enumerate(row)] for row, end in zip(free.tolist(), where, strict=True)
    ]
    for cache in (True, False):
        stopped = written(model, prompt, max_tokens=20, temperature=temperature, stop_id=stop, cache=cache)
        assert stopped.tolist() == [row[: max(where) + 1] for row in expected]


def test_writing_ends_when_the_last_row_has_ended():
    model, runs = mildly(), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    prompt = random_ids(3, T, seed=4)
    free = written(model, prompt, max_tokens=80, temperature=2.0)
    stop = min(range(V), key=lambda token: max(ends(free, token)))
    last = max(ends(free, stop))
    assert T < last < 80
    runs.clear()
    rows = written(model, prompt, max_tokens=80, temperature=2.0, stop_id=stop)
    assert rows.shape[1] == last + 1 == T + len(runs)
    assert (rows[:, -1] == stop).all()


def test_the_stop_token_in_a_prompt_stops_nothing():
    model = mildly()
    prompt = torch.tensor([[5, 5, 5]])
    assert written(model, prompt, stop_id=5, temperature=2.0).shape[1] > 4


@pytest.mark.parametrize(("positions", "longest"), [("learned", CONTEXT - T + 1), ("rotary", 40), ("sinusoidal", 40)])
@pytest.mark.parametrize("cache", [True, False])
def test_learned_positions_end_and_this_is_said_before_anything_is_written(positions, longest, cache):
    model, runs = mildly(positions=positions), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    assert written(model, max_tokens=longest, cache=cache).shape == (B, T + longest)
    if positions == "learned":
        runs.clear()
        message = f"^prompt and max_tokens need {CONTEXT + 1} positions, but only {CONTEXT} were learned"
        for write in (written, lambda model, **options: stream(model, PROMPT[:1], **options)):
            with pytest.raises(ValueError, match=message):
                write(model, max_tokens=longest + 1)
        assert not runs


# --- what it leaves as it was ----------------------------------------------------------------------------------------


def modes(model: GPT) -> list[bool]:
    return [module.training for module in model.modules()]


def half_frozen(**changes: Any) -> GPT:
    """In training, but for one block that somebody has frozen."""
    model = mildly(dropout=0.5, **changes).train()
    model.blocks[1].eval()
    return model


def test_dropout_is_off_while_writing_and_every_module_is_then_in_the_mode_it_was_in():
    model = half_frozen()
    before = modes(model)
    assert len(set(before)) == 2
    ids = written(model)
    assert modes(model) == before
    assert torch.equal(ids, written(model.eval()))
    assert not any(modes(model))


def test_what_was_written_can_be_trained_on():
    model = mildly().train()
    ids = written(model)
    assert not ids.is_inference()
    model(ids).sum().backward()
    _, probabilities = next(stream(model, PROMPT[:1], max_tokens=1))
    assert not probabilities.is_inference()
    assert not probabilities.requires_grad


def test_no_gradient_is_kept_while_writing(monkeypatch):
    model = mildly()
    kept = recorded(monkeypatch, model, "head", lambda x: x.requires_grad)
    written(model)
    list(stream(model, PROMPT[:1], max_tokens=N))
    assert kept == [False] * 2 * N


def test_greedy_and_a_generator_of_ones_own_leave_the_random_numbers_alone():
    model, generator = mildly(), seeded(3)
    before = torch.get_rng_state()
    written(model, temperature=GREEDY, generator=generator)
    assert torch.equal(generator.get_state(), seeded(3).get_state())
    first, second = (written(model, max_tokens=20, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    prompt = PROMPT.clone()
    written(model, prompt)
    assert torch.equal(prompt, PROMPT)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.uint8])
def test_ids_of_any_integer_type_can_be_gone_on_from(dtype):
    model = mildly()
    with unchecked():  # the checker of shapes counts uint8 as another kind
        ids = written(model, PROMPT.to(dtype))
    assert ids.dtype == torch.int64
    assert torch.equal(ids, written(model))


def test_in_bfloat16_probabilities_are_float32():
    model = mildly().bfloat16()
    assert written(model).shape == (B, T + N)
    _, probabilities = next(stream(model, PROMPT[:1], max_tokens=1))
    assert probabilities.dtype == torch.float32
    assert abs(float(probabilities.sum()) - 1) < 1e-5


# --- id by id --------------------------------------------------------------------------------------------------------


@TEMPERATURES
def test_a_stream_is_what_generate_writes_with_the_probabilities_of_a_whole_pass(temperature):
    model, prompt = mildly(), PROMPT[:1]
    whole = written(model, prompt, temperature=temperature, stop_id=None)
    steps = list(stream(model, prompt, max_tokens=N, temperature=temperature, generator=seeded(3)))
    assert [token for token, _ in steps] == whole[0, T:].tolist()
    with torch.no_grad():
        logits = model(whole)[0, T - 1 : -1]
    for (token, probabilities), expected in zip(steps, logits, strict=True):
        assert type(token) is int
        if temperature == GREEDY:
            assert probabilities.tolist() == [float(i == token) for i in range(V)]
        else:
            assert_same(probabilities, (expected / temperature).softmax(dim=0))


def test_a_stream_ends_with_the_stop_token():
    model, prompt = mildly(), PROMPT[:1]
    free = written(model, prompt, max_tokens=30)[0, T:].tolist()
    stop = free[6]
    steps = stream(model, prompt, max_tokens=30, generator=seeded(3), stop_id=stop)
    assert [token for token, _ in steps] == free[: free.index(stop) + 1]


def test_a_stream_writes_only_what_is_asked_of_it_and_the_model_is_free_in_between():
    model, runs = half_frozen(), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    before = modes(model)
    steps = stream(model, PROMPT[:1], max_tokens=30)
    assert runs == []
    for step in itertools.islice(steps, 3):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        assert modes(model) == before
        assert len(step) == 2
    assert len(runs) == 3
    del steps
    assert modes(model) == before


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompt": PROMPT[0]}, TypeError, r"prompt must be a tensor of integers with shape \(B, T\), not a tensor of"),
        ({"prompt": PROMPT[:, :0]}, TypeError, "prompt must be a tensor of integers"),
        ({"prompt": PROMPT.float()}, TypeError, "prompt must be a tensor of integers"),
        ({"prompt": [[1, 2]]}, TypeError, r"prompt must be a tensor of integers .*, not \[\[1, 2\]\]"),
        ({"prompt": PROMPT + V}, ValueError, f"prompt run from .* they must be from 0 to {V - 1}"),
        ({"max_tokens": 0}, ValueError, "max_tokens is 0: it must be at least 1"),
        ({"max_tokens": 2.0}, TypeError, "max_tokens must be an integer, not 2.0"),
        ({"temperature": -0.1}, ValueError, r"temperature is -0\.1: it must be 0 \(the likeliest token\) or above"),
        ({"temperature": math.nan}, ValueError, "temperature is nan: it must be 0"),
        ({"temperature": math.inf}, ValueError, "temperature is inf: it must be 0"),
        ({"stop_id": V}, ValueError, f"stop_id is {V}: it must be from 0 to {V - 1}"),
        ({"stop_id": -1}, ValueError, f"stop_id is -1: it must be from 0 to {V - 1}"),
    ],
)
def test_misuse_is_refused_before_anything_is_written(options, error, message):
    model, runs = half_frozen(), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    before = modes(model)
    options = {"prompt": PROMPT, "max_tokens": N} | options
    with unchecked(), pytest.raises(error, match=f"^{message}"):
        generate(model, **options)
    one_row = options | {"prompt": options["prompt"][:1]}
    if one_row["prompt"].__class__ is Tensor and one_row["prompt"].ndim == 2:
        with unchecked(), pytest.raises(error, match=f"^{message}"):
            stream(model, **one_row)
    assert not runs
    assert modes(model) == before


def test_a_stream_of_two_texts_is_refused():
    with unchecked(), pytest.raises(ValueError, match=r"^prompt has 2 rows: a stream is one text, give it as \(1, T\)"):
        stream(mildly(), PROMPT, max_tokens=N)
    with unchecked(), pytest.raises(TypeError, match=r"^prompt must be a tensor of integers"):
        stream(mildly(), wrong([[1, 2]]), max_tokens=N)


def test_many_tokens_are_written_by_columns_and_afterwards_the_weights_lie_as_before():
    model = mildly().float()
    before = {name: (p.data_ptr(), p.stride(), p.detach().clone()) for name, p in model.named_parameters()}
    by_columns, fails = [], False

    def look(linear: Any, *_: Any) -> None:
        by_columns.append(linear.weight.stride(0) == 1)
        if fails:
            raise RuntimeError("as it happens")

    first_block: Any = model.blocks[0]
    wide = first_block.attention.qkv
    wide.register_forward_hook(look)
    cases: tuple[tuple[dict[str, Any], bool], ...] = (
        ({"max_tokens": 32}, True),
        ({"max_tokens": 31}, False),
        ({"max_tokens": 32, "cache": False}, False),
    )
    for options, expected in cases:
        by_columns.clear()
        ids = written(model, temperature=GREEDY, **options)
        assert set(by_columns) == {expected}
        assert ids.tolist() == written(model, temperature=GREEDY, **(options | {"cache": False})).tolist()
    fails = True
    with pytest.raises(RuntimeError, match="as it happens"):
        written(model, max_tokens=40)
    for name, p in model.named_parameters():
        place, stride, weights = before[name]
        assert (p.data_ptr(), p.stride()) == (place, stride)
        assert torch.equal(p, weights)
