"""Beam search finds what trying everything finds, what plain Python finds, and what Hugging Face finds."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianMTModel

from course_lib.layers.positions import sinusoids
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import POSITIONS
from course_lib.using.generation import translate
from tests.layers.helpers import seeded, unchecked
from tests.models.helpers import from_marian, load
from tests.using.helpers import recorded

B, S, V, F, CONTEXT = 4, 7, 5, 17, 16
SIZES: dict[str, Any] = {"vocabulary": V, "context": CONTEXT, "layers": 1, "heads": 2, "width": 8, "hidden": F}
LENGTHS = [7, 4, 6, 1]  # of the sources
SOURCES = torch.randint(2, V, (B, S), generator=seeded(0))
REAL = torch.arange(S) < torch.tensor(LENGTHS)[:, None]
BEGIN, END = 0, 1


def model_of(*, seed: int = 1, **changes: Any) -> Transformer:
    return varied(Transformer(TransformerConfig(**(SIZES | {"tied": False} | changes))), seed)


def varied(model: Any, seed: int = 1) -> Any:
    """In float64, with random matrices that keep the size of vectors: what comes next depends on all that was written.

    (With the usual weights an untrained model repeats one token for ever.)
    """
    generator = seeded(seed)
    for name, parameter in model.double().named_parameters():
        if parameter.ndim == 2:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            size = 2 if "embedding" in name or "head" in name or "shared" in name else 1
            parameter.data = size * noise / parameter.shape[1] ** 0.5
    return model.eval()


class Reader:
    """The model on one source (1, S), read from the start for each text, without a cache. What it said is kept."""

    def __init__(self, model: Transformer, source: Tensor) -> None:
        self.model, self.source, self.said = model, source, dict[tuple[int, ...], list[float]]()

    @torch.no_grad()
    def log_probabilities(self, text: tuple[int, ...]) -> list[float]:
        if text not in self.said:
            logits = self.model(self.source, torch.tensor([[BEGIN, *text]]))[0, -1]
            self.said[text] = logits.log_softmax(dim=-1).tolist()
        return self.said[text]


def penalty(length: int, alpha: float) -> float:
    """Wu et al. 2016, eq. 14, as it stands there."""
    return (5 + length) ** alpha / (5 + 1) ** alpha


def without_end(text: tuple[int, ...], end: int) -> list[int]:
    return [*text[:-1]] if text[-1] == end else [*text]


def best_of_all(model: Transformer, source: Tensor, longest: int, alpha: float, end: int = END) -> list[int]:
    """Every text that ends, or is as long as it may be, is scored."""
    vocabulary, scores, reader = model.config.vocabulary, {}, Reader(model, source)
    for length in range(1, longest + 1):
        for text in itertools.product(range(vocabulary), repeat=length):
            if end not in text[:-1] and (text[-1] == end or length == longest):
                steps = [reader.log_probabilities(text[:i])[token] for i, token in enumerate(text)]
                scores[text] = sum(steps) / penalty(length, alpha)
    return without_end(max(scores, key=lambda text: scores[text]), end)


def beams_by_lists(
    model: Transformer, source: Tensor, longest: int, beams: int, alpha: float, end: int = END
) -> list[int]:
    """The same search with lists, and without caches or batches."""
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    reader = Reader(model, source)
    for length in range(1, longest + 1):
        found = []
        for total, text in alive:
            for token, step in enumerate(reader.log_probabilities(text)):
                found.append((total + step, (*text, token)))
        found.sort(reverse=True)
        over = {text: text[-1] == end or length == longest for _, text in found}
        ended += [(total / penalty(length, alpha), text) for total, text in found[:beams] if over[text]]
        if len(ended) >= beams:
            break
        alive = [(total, text) for total, text in found if not over[text]][:beams]
    return without_end(max(ended)[1], end)


def translated(
    model: Transformer, beams: int, *, longest: int = 6, alpha: float = 0.6, **options: Any
) -> list[list[int]]:
    options = {"begin_id": BEGIN, "end_id": END, "max_tokens": longest, "length_penalty": alpha} | options
    return translate(model, SOURCES, REAL, beams=beams, **options)


def each_source() -> list[Tensor]:
    """Each source alone, without padding."""
    return [SOURCES[i : i + 1, :length] for i, length in enumerate(LENGTHS)]


# --- references ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_with_room_for_all_texts_the_best_of_all_is_found(alpha):
    better_than_greedy = 0
    for seed in (3, 5):
        model = model_of(seed=seed)
        best = [best_of_all(model, source, 3, alpha) for source in each_source()]
        assert translated(model, V**3, longest=3, alpha=alpha) == best
        better_than_greedy += best != translated(model, 1, longest=3, alpha=alpha)
    assert better_than_greedy


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_beam_search_finds_what_the_same_search_with_lists_finds(beams, alpha):
    lengths = set()
    for end in range(1, V):
        model = model_of(seed=end)
        results = translated(model, beams, longest=5, alpha=alpha, end_id=end)
        assert results == [beams_by_lists(model, source, 5, beams, alpha, end) for source in each_source()]
        lengths |= {len(ids) for ids in results}
    assert len(lengths) > 2, lengths  # or hardly anything is decided on the way


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_with_more_beams_than_tokens_what_was_never_written_does_not_end(alpha):
    for seed in range(6):
        model, sources = model_of(seed=seed, vocabulary=3), SOURCES[:2] % 3
        found = translate(model, sources, begin_id=BEGIN, end_id=END, max_tokens=6, beams=16, length_penalty=alpha)
        assert found == [beams_by_lists(model, source[None], 6, 16, alpha) for source in sources]


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Transformer]:
    """Hugging Face's Marian and ours with its weights, in float64."""
    config = MarianConfig(
        vocab_size=V,
        d_model=8,
        max_position_embeddings=CONTEXT,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=F,
        decoder_ffn_dim=F,
        activation_function="relu",
        scale_embedding=True,
        tie_word_embeddings=False,
        pad_token_id=BEGIN,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
        forced_eos_token_id=None,
    )
    theirs = varied(MarianMTModel(config), seed=5)
    for half in (theirs.model.encoder, theirs.model.decoder):
        half.embed_tokens = theirs.model.shared  # only the head has a matrix of its own
        half.embed_positions.weight.data = sinusoids(torch.arange(CONTEXT), 8, dtype=torch.float64)
    ours = model_of()
    learned = {name: p for name, p in theirs.named_parameters() if "embed_positions" not in name}
    load(ours, from_marian(learned, layers=1) | {"unembedding.weight": learned["lm_head.weight"]})
    return theirs, ours


@pytest.mark.parametrize("beams", [1, 2, 4, 7])
def test_beam_search_finds_what_hugging_face_finds(pair, beams):
    """Without a length penalty: theirs is another formula."""
    theirs, ours = pair
    lengths = set()
    for end in range(1, V):
        expected = []
        options = {"early_stopping": True, "length_penalty": 0.0} if beams > 1 else {}
        for row in theirs.generate(
            SOURCES,
            attention_mask=REAL.long(),
            num_beams=beams,
            do_sample=False,
            max_new_tokens=9,
            eos_token_id=end,
            **options,
        ).tolist():
            ids = row[1:]
            expected.append(ids[: ids.index(end)] if end in ids else ids)
        assert translated(ours, beams, longest=9, alpha=0.0, end_id=end) == expected
        lengths |= {len(ids) for ids in expected}
    assert len(lengths) > 1, lengths


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"positions": name} for name in POSITIONS] + [{"block": "pre", "qk_norm": True}], ids=str
)
@pytest.mark.parametrize("beams", [1, 3])
def test_every_position_scheme_and_block_writes_the_same_with_its_cache(changes, beams):
    model = model_of(seed=2, layers=2, **changes)
    expected = [beams_by_lists(model, source, 5, beams, 0.6) for source in each_source()]
    assert translated(model, beams, longest=5) == expected


def test_a_translation_does_not_depend_on_what_stands_beside_it():
    model = model_of()
    together = translated(model, 4)
    for source, expected in zip(each_source(), together, strict=True):
        alone = translate(model, source, begin_id=BEGIN, end_id=END, max_tokens=6, beams=4)
        assert alone == [expected]
    changed = torch.where(REAL, SOURCES, 1)  # other padding
    assert translate(model, changed, REAL, begin_id=BEGIN, end_id=END, max_tokens=6, beams=4) == together


def test_the_source_is_read_once_and_each_target_token_once(monkeypatch):
    model = model_of()
    encoded, decoded = (recorded(monkeypatch, model, method) for method in ("encode", "decode"))
    translated(model, 3, longest=6)
    assert encoded == [(len(LENGTHS), S)]
    assert len(decoded) <= 6
    assert set(decoded) == {(3 * len(LENGTHS), 1)}


def test_a_longer_text_needs_a_higher_penalty_exponent():
    """By hand. It ends at once with P = 0.5, or after one more token with 0.499 · 0.9: ln 0.5 against ln 0.449."""

    class Two(Transformer):
        def decode(self, target, memory, source_real=None, caches=None):
            first = target[0, -1] == BEGIN
            p = [0.001, 0.5, 0.499] if first else [0.05, 0.9, 0.05]
            return torch.tensor(p, dtype=torch.float64).log().expand(len(target), 1, 3)

        def new_caches(self):
            return []

    model = Two(TransformerConfig(3, layers=1, heads=1, width=4))
    source = torch.tensor([[2, 2]])
    at_once, later = -math.log(0.5), -math.log(0.499 * 0.9)
    turn = math.log(later / at_once) / math.log(7 / 6)  # where later / ((5 + 2) / 6)^α is as small as at_once
    for alpha, expected in {0.0: [], turn - 0.01: [], turn + 0.01: [2]}.items():
        found = translate(model, source, begin_id=BEGIN, end_id=END, max_tokens=2, beams=2, length_penalty=alpha)
        assert found == [expected]


def test_dropout_is_off_and_every_module_is_then_in_the_mode_it_was_in():
    model = model_of(dropout=0.5).train()
    model.encoder[0].eval()
    before = [module.training for module in model.modules()]
    results = translated(model, 2)
    assert [module.training for module in model.modules()] == before
    assert translated(model.eval(), 2) == results
    state = torch.get_rng_state()
    translated(model, 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_and_float32_translate_too():
    for dtype in (torch.float32, torch.bfloat16):
        results = translated(model_of().to(dtype), 3)
        assert all(0 <= i < V and i != END for ids in results for i in ids)
        assert max(map(len, results)) <= 6


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_tokens": 0}, ValueError, "max_tokens is 0: it must be at least 1"),
        ({"max_tokens": CONTEXT + 1}, ValueError, f"max_tokens need {CONTEXT + 1} positions, but only {CONTEXT} were"),
        ({"beams": 0}, ValueError, "beams is 0: it must be at least 1"),
        ({"beams": 2.0}, TypeError, "beams must be an integer, not 2.0"),
        ({"begin_id": V}, ValueError, f"begin_id is {V}: it must be from 0 to {V - 1}"),
        ({"end_id": -1}, ValueError, f"end_id is -1: it must be from 0 to {V - 1}"),
        ({"length_penalty": -0.5}, ValueError, r"length_penalty is -0\.5: it must be 0 or above"),
        ({"length_penalty": math.nan}, ValueError, "length_penalty is nan: it must be 0 or above"),
        ({"source": SOURCES + V}, ValueError, f"source run from .* they must be from 0 to {V - 1}"),
        ({"source_real": REAL[:, 1:]}, ValueError, r"source_real has shape \(4, 6\): it must be \(4, 7\)"),
    ],
)
def test_misuse_is_refused_before_anything_is_written(options, error, message):
    model, runs = model_of(positions="learned"), []
    model.decoder[0].register_forward_pre_hook(lambda *_: runs.append(1))
    usual: dict[str, Any] = {"source": SOURCES, "source_real": REAL, "begin_id": BEGIN, "end_id": END, "max_tokens": 5}
    with unchecked(), pytest.raises(error, match=f"^{message}"):
        translate(model, **(usual | options))
    assert not runs
    assert len(translate(model, **(usual | {"max_tokens": CONTEXT}))) == B
