"""XLNet against Hugging Face's, with copied weights; its laws; bad input."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.xlnet.configuration_xlnet import XLNetConfig as TheirConfig
from transformers.models.xlnet.modeling_xlnet import XLNetLMHeadModel, XLNetModel

from course_lib.layers.masks import causal_mask
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.parts import NORMS
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.models.pretrained.xlnet import XLNET
from tests.layers.helpers import assert_same, randn, random_mask, randomized, seeded, unchecked
from tests.models.helpers import (
    LAYERS,
    SIZES,
    B,
    D,
    F,
    H,
    S,
    T,
    Tensors,
    V,
    cuts,
    in_both_formats,
    load,
    random_ids,
    shrunk,
)

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
IDS = random_ids(B, S)
QUERIES = torch.tensor([[4, 0, 6], [5, 3, 1]])  # in any order
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 2], [1, 1, 0, 0, 0, 1, 0]])
REAL = torch.arange(S) < torch.tensor([[S], [S - 2]])


def xlnet(**changes) -> XLNet:
    return randomized(XLNet(XLNetConfig(**(SIZES | {"dropout": 0.0} | changes)))).eval()


def mask_without_itself(seed: int = 0, length: int = S) -> Tensor:
    """Everyone reads about half of the others, and at least one that is no padding; nobody itself."""
    mask = torch.rand(B, length, length, generator=seeded(seed)) < 0.5
    mask |= (torch.arange(length)[:, None] + 1) % (length - 2) == torch.arange(length)
    return mask & ~torch.eye(length, dtype=torch.bool)


# --- references ------------------------------------------------------------------------------------------------------


def float64_waves(length: int, key_length: int, bsz: int | None = None, device: Any = None) -> Tensor:
    """Hugging Face's are float32 in any model, which would hide the last seven digits (and stop its second stream)."""
    speeds = 1 / 10_000 ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    return XLNetModel.positional_embedding(torch.arange(key_length, -length, -1).double(), speeds, bsz)


def theirs_and_ours(dtype: torch.dtype, **settings: Any) -> tuple[Any, XLNet]:
    sizes: dict[str, Any] = {"vocab_size": V, "d_model": D, "n_layer": LAYERS, "n_head": H, "d_inner": F}
    theirs = shrunk(XLNetLMHeadModel(TheirConfig(**sizes, mem_len=None, **settings)), dtype)
    if dtype == torch.float64:
        theirs.transformer.relative_positional_encoding = float64_waves
    ours = XLNet(XLNetConfig(**SIZES, dropout=0.0, norm_eps=settings.get("layer_norm_eps", 1e-12)))
    load(ours, by_our_names(ours, dict(theirs.named_parameters())))
    return theirs, ours.eval()


def by_our_names(ours: XLNet, tensors: Tensors) -> Tensors:
    return {
        entry.ours: entry.join([tensors[name] for name in entry.theirs]).contiguous()
        for entry in XLNET.table(ours.config)
    }


def one_hot(queries: Tensor, dtype: torch.dtype) -> Tensor:
    return nn.functional.one_hot(queries, S).to(dtype)


def agree(
    ours: XLNet, theirs: XLNetLMHeadModel, logits: Tensor, expected: Tensor, atol: float, unused: set[str]
) -> None:
    """Logits and all gradients; ``unused`` are the parts that have none."""
    assert 0.3 < expected.abs().max() < 10
    assert_same(logits, expected, atol=atol)
    factors = randn(*expected.shape, dtype=expected.dtype)
    mine, others = (
        dict(zip(dict(model.named_parameters()), found, strict=True))
        for model, out in ((ours, logits), (theirs, expected))
        for found in [
            torch.autograd.grad(
                (out * factors).sum(), list(model.parameters()), allow_unused=True, materialize_grads=True
            )
        ]
    )
    for name, gradient in by_our_names(ours, others).items():
        assert gradient.any() != any(part in name for part in unused)
        assert_same(mine[name], gradient, atol=atol * max(1.0, float(gradient.abs().max())))


@in_both_formats
@pytest.mark.parametrize("real", [None, REAL], ids=["whole", "padded"])
@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["one text", "segments"])
def test_the_content_stream_alone_is_hugging_faces(segments, real, dtype, atol):
    theirs, ours = theirs_and_ours(dtype)
    their_real = None if real is None else real.to(dtype)
    hidden = theirs.transformer(IDS, attention_mask=their_real, token_type_ids=segments).last_hidden_state
    assert_same(ours.hidden(IDS, real, segments), hidden, atol=atol)
    expected = theirs(IDS, attention_mask=their_real, token_type_ids=segments).logits
    unused = {"query_start", *(["segments"] if segments is None else [])}
    agree(ours, theirs, ours(IDS, real, segments), expected, atol, unused)


@in_both_formats
@pytest.mark.parametrize("real", [None, REAL], ids=["whole", "padded"])
@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["one text", "segments"])
def test_both_streams_are_hugging_faces(segments, real, dtype, atol):
    theirs, ours = theirs_and_ours(dtype, layer_norm_eps=1e-3)
    mask = mask_without_itself()
    arguments = {
        "attention_mask": None if real is None else real.to(dtype),
        "token_type_ids": segments,
        "perm_mask": (~mask).to(dtype),
    }
    streams = ours.streams(IDS, real, segments, mask=mask, queries=QUERIES)
    assert_same(streams.content, theirs.transformer(IDS, **arguments).last_hidden_state, atol=atol)
    arguments["target_mapping"] = one_hot(QUERIES, dtype)
    assert_same(streams.query, theirs.transformer(IDS, **arguments).last_hidden_state, atol=atol)
    logits = ours(IDS, real, segments, mask=mask, queries=QUERIES)
    agree(ours, theirs, logits, theirs(IDS, **arguments).logits, atol, {"segments"} if segments is None else set())


@in_both_formats
@pytest.mark.parametrize("kept", [None, 4])
def test_a_text_in_three_pieces_with_memory_is_hugging_faces(kept, dtype, atol):
    theirs, ours = theirs_and_ours(dtype)
    theirs.transformer.mem_len = kept
    memory, their_memory = None, None
    for piece in range(3):
        ids, mask, real = random_ids(B, S, seed=piece), mask_without_itself(piece), REAL if piece == 1 else None
        arguments = {
            "attention_mask": None if real is None else real.to(dtype),
            "token_type_ids": SEGMENTS,
            "perm_mask": (~mask).to(dtype),
            "target_mapping": one_hot(QUERIES, dtype),
        }
        expected = theirs(ids, mems=their_memory, use_mems=True, **arguments)
        logits = ours(ids, real, SEGMENTS, mask=mask, queries=QUERIES, memory=memory)
        agree(ours, theirs, logits, expected.logits, atol, set())
        memory = ours.streams(ids, real, SEGMENTS, mask=mask, memory=memory).memory
        if kept:
            memory = [layer[:, -kept:] for layer in memory]
        their_memory = expected.mems
        assert len(memory) == len(their_memory) == LAYERS
        for mine, other in zip(memory, their_memory, strict=True):
            assert_same(mine, other.transpose(0, 1), atol=atol)
            assert not mine.requires_grad
        alone = theirs(ids, mems=their_memory, use_mems=True).logits  # without any mask
        assert_same(ours(ids, memory=memory), alone, atol=atol)


@pytest.mark.parametrize("block", ["pre", "post"])
def test_the_content_stream_with_a_causal_mask_is_our_gpt_with_copied_weights(block):
    parts: dict[str, Any] = {
        "positions": "transformer-xl",
        "block": block,
        "norm": "rms",
        "feedforward": "swiglu",
        "qk_norm": False,
        "bias": False,
        "tied": True,
        "logit_cap": 2.0,
        "dropout": 0.0,
        "norm_eps": 1e-3,
    }
    gpt = randomized(GPT(GPTConfig(**SIZES, **parts)))
    ours = XLNet(XLNetConfig(**SIZES, **parts)).double()
    tensors = {"query_start": torch.zeros(D)}
    for name, tensor in gpt.state_dict().items():
        if name.endswith("qkv.weight"):
            at = name.removesuffix("qkv.weight")
            tensors[at + "query.weight"], tensors[at + "key_value.weight"] = tensor.split([D, 2 * D])
        elif not name.startswith("positions"):  # which all layers of a GPT share
            tensors[name] = tensor
    missing, unexpected = ours.load_state_dict(tensors, strict=False)
    assert unexpected == []
    assert all(".segments." in name for name in missing)
    assert_same(ours(IDS, mask=causal_mask(S)), gpt(IDS))


# --- laws ------------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "XLNet": {},
    "pre-norm, RMSNorm": {"block": "pre", "norm": "rms", "bias": False},
    "gated, untied, capped": {"feedforward": "swiglu", "tied": False, "logit_cap": 3.0},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def embedded(model: XLNet) -> list[Tensor]:
    """Where the vectors of the tokens will be found, as leaves: the embedding itself may be the head too."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1]

    model.embedding.register_forward_hook(keep)
    return found


def read_by(output: Tensor, tokens: Tensor) -> list[bool]:
    """From which tokens of row 0 anything reaches the output. What does not is exactly 0."""
    [gradient] = torch.autograd.grad((output * randn(*output.shape)).sum(), tokens, retain_graph=True)
    assert not gradient[1:].any()
    return gradient[0].any(dim=-1).tolist()


@each_kind
def test_a_query_reads_what_its_mask_allows_and_content_itself_too(kind):
    model, mask = xlnet(layers=1, **kind), random_mask(B, S, S)
    mask[0, 4] = torch.tensor([True, False, True, False, False, False, True])  # not itself
    mask[0, 0] = True
    found = embedded(model)
    streams = model.streams(IDS, mask=mask, queries=torch.arange(S).expand(B, S))
    for t in range(S):
        assert read_by(streams.query[0, t], found[0]) == mask[0, t].tolist()
        assert read_by(streams.content[0, t], found[0]) == [bool(mask[0, t, s]) or s == t for s in range(S)]


@each_kind
def test_through_all_layers_a_query_reads_nothing_of_itself_and_of_what_comes_later(kind):
    order = [3, 0, 6, 2, 5, 1, 4]
    mask = torch.tensor([[[order.index(s) < order.index(t) for s in range(S)] for t in range(S)]]).expand(B, -1, -1)
    model = xlnet(**kind)
    found = embedded(model)
    streams = model.streams(IDS, mask=mask, queries=torch.tensor([order]).expand(B, -1))
    for i, t in enumerate(order):
        assert read_by(streams.query[0, i], found[0]) == [s in order[:i] for s in range(S)]
        assert read_by(streams.content[0, t], found[0]) == [s in order[: i + 1] for s in range(S)]


def test_a_query_that_may_read_nothing_is_the_same_for_every_text_but_not_in_hugging_face():
    mask, at = ~torch.eye(S, dtype=torch.bool).expand(B, S, S), torch.tensor([[2], [4]])
    mask = mask.scatter(1, at[:, :, None].expand(-1, -1, S), False)
    theirs, ours = theirs_and_ours(torch.float64)
    other = (IDS + 1) % V
    one, another = (ours(ids, mask=mask, queries=at) for ids in (IDS, other))
    assert torch.equal(one, another)
    assert one.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients_of(ours, one))
    arguments = {"perm_mask": (~mask).double(), "target_mapping": one_hot(at, torch.float64)}
    one, another = (theirs(ids, **arguments).logits for ids in (IDS, other))
    assert (one - another).abs().max() > 1e-3


def gradients_of(model: nn.Module, out: Tensor) -> list[Tensor]:
    return list(
        torch.autograd.grad(out.square().sum(), list(model.parameters()), allow_unused=True, materialize_grads=True)
    )


@each_kind
def test_queries_come_in_any_order_and_each_is_what_it_is_alone(kind):
    model, mask = xlnet(**kind), mask_without_itself()
    queries = torch.tensor([[4, 0, 6], [5, 5, 1]])  # one twice: in Hugging Face the two would be added up
    logits = model(IDS, mask=mask, queries=queries)
    for i in range(queries.shape[1]):
        assert_same(logits[:, i], model(IDS, mask=mask, queries=queries[:, i : i + 1])[:, 0])
    assert_same(logits[1, 0], logits[1, 1])
    assert (logits[:, 0] - logits[:, 2]).abs().max() > 1e-3


@each_kind
def test_a_row_is_the_same_alone_and_padded(kind):
    model, mask, rows = xlnet(**kind), mask_without_itself(), [S, S - 2]
    queries = torch.tensor([[4, 0, 6], [4, 3, 1]])
    logits = model(IDS, REAL, SEGMENTS, mask=mask, queries=queries)
    hidden = model.hidden(IDS, REAL, SEGMENTS)
    for b, length in enumerate(rows):
        ids, segments = IDS[b : b + 1, :length], SEGMENTS[b : b + 1, :length]
        cut = mask[b : b + 1, :length, :length]
        assert_same(logits[b], model(ids, None, segments, mask=cut, queries=queries[b : b + 1])[0])
        assert_same(hidden[b, :length], model.hidden(ids, None, segments)[0])


@each_kind
def test_read_from_left_to_right_with_memory_every_way_to_cut_the_text_gives_the_same(kind):
    model, ids = xlnet(**kind), random_ids(B, T)
    whole = model.streams(ids, mask=causal_mask(T))
    for pieces in cuts(T):
        memory: list[Tensor] | None = None
        content: list[Tensor] = []
        for start, end in pieces:
            streams = model.streams(ids[:, start:end], mask=causal_mask(end - start), memory=memory)
            memory = streams.memory
            content.append(streams.content)
        assert_same(torch.cat(content, dim=1), whole.content)
        for mine, other in zip(streams.memory, whole.memory, strict=True):
            assert_same(mine, other)


def test_the_next_token_is_what_a_query_behind_the_text_predicts():
    """The query at the end of a left-to-right mask reads what the GPT of this model would: all that came before."""
    model, ids = xlnet(), random_ids(B, T)
    mask = causal_mask(T) & ~torch.eye(T, dtype=torch.bool)
    logits = model(ids, mask=mask, queries=torch.arange(1, T).expand(B, -1))
    for t in range(1, T):
        changed = ids.clone()
        changed[:, t:] = (changed[:, t:] + 1) % V
        assert_same(model(changed, mask=mask, queries=torch.full((B, 1), t))[:, 0], logits[:, t - 1])


def test_of_segments_counts_alone_whether_two_are_equal():
    model = xlnet()
    expected = model(IDS, segments=SEGMENTS)
    assert_same(model(IDS, segments=7 - 3 * SEGMENTS), expected)
    assert_same(model(IDS, segments=torch.full_like(IDS, 4)), model(IDS))  # all the same: as good as none
    assert (expected - model(IDS)).abs().max() > 1e-3


def test_only_distances_count():
    """The same text behind another one that nobody reads."""
    model, before = xlnet(), random_ids(B, 3, seed=4)
    mask = torch.ones(B, S + 3, S + 3, dtype=torch.bool)
    mask[:, 3:, :3] = False
    assert_same(model(torch.cat([before, IDS], dim=1), mask=mask)[:, 3:], model(IDS))


def test_a_mask_for_all_rows_alike_and_none_at_all():
    model, mask = xlnet(), mask_without_itself()[:1]
    queries = QUERIES[:1].expand(B, -1)
    expected = model(IDS, mask=mask.expand(B, S, S), queries=queries)
    for same in (mask, mask[0]):
        assert_same(model(IDS, mask=same, queries=queries), expected)
    assert_same(model(IDS, mask=torch.ones(S, S, dtype=torch.bool)), model(IDS))
    assert_same(model(IDS, torch.ones_like(REAL)), model(IDS))


@each_kind
def test_dropout_acts_in_training_alone_and_everywhere(kind):
    model, still, mask = xlnet(dropout=0.4, **kind), xlnet(**kind), mask_without_itself()
    assert_same(model(IDS, mask=mask, queries=QUERIES), still(IDS, mask=mask, queries=QUERIES))
    calls: list[float] = []
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.register_forward_hook(lambda module, inputs, output: calls.append(module.p))
    model.train()(IDS, mask=mask, queries=QUERIES)
    assert calls == [0.4] * (2 + 3 * LAYERS)  # both ends; in each block what is added, and inside the feed-forward
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    of_weights = model(IDS, mask=mask, queries=QUERIES) - still(IDS, mask=mask, queries=QUERIES)
    assert of_weights.abs().amax(dim=-1).min() > 1e-3


@each_kind
def test_a_state_dict_carries_the_whole_model(kind):
    model, other = xlnet(**kind), XLNet(XLNetConfig(**(SIZES | kind))).double().eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS, None, SEGMENTS), model(IDS, None, SEGMENTS))
    assert (model.unembedding.weight is model.embedding.weight) == model.config.tied


def test_hidden_and_head_are_two_halves_and_what_the_head_reads_is_normed():
    for norm in NORMS:
        for block in ("pre", "post"):
            model = XLNet(XLNetConfig(**SIZES, norm=norm, block=block, dropout=0.0)).double()
            hidden = model.hidden(IDS)
            assert torch.equal(model.head(hidden), model(IDS))
            assert_same(hidden.square().mean(dim=-1).sqrt(), torch.ones(B, S).double(), atol=1e-2)


def test_the_weights_start_small_and_outputs_at_zero_where_that_is_asked_for():
    torch.manual_seed(0)
    model = XLNet(XLNetConfig(96, layers=2, heads=2, width=48))
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and not name.endswith(("out.weight", "down.weight", ".u", ".v", ".b", ".s")):
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.query_start.std().item() == pytest.approx(0.02, rel=0.3)
    probabilities = model(random_ids(B, T)).softmax(dim=-1) * 96
    assert 0.3 < probabilities.min() < probabilities.max() < 3
    zeroed = XLNet(XLNetConfig(**SIZES, block="pre", zero_init=True, dropout=0.0))
    assert torch.equal(zeroed.hidden(IDS), zeroed.norm(zeroed.embedding(IDS)))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_near_float64(dtype, device):
    """A format with the relative rounding eps / 2 rounds some 30 numbers one behind the other: see test_gpu.py."""
    model, inputs = shrunk(xlnet(), torch.float32), [IDS, REAL, SEGMENTS, mask_without_itself(), QUERIES]

    def logits(model: XLNet, device: str) -> Tensor:
        ids, real, segments, mask, queries = (part.to(device) for part in inputs)
        memory = model.to(device).streams(ids, real, segments, mask=mask).memory
        return model(ids, real, segments, mask=mask, queries=queries, memory=memory)

    expected = logits(copy.deepcopy(model).double(), "cpu").detach()
    with torch.autocast(device, dtype):
        mixed = logits(model, device)
    for result in (mixed, logits(model.to(dtype), device)):
        assert result.dtype == torch.float32
        assert_same(result.cpu().double(), expected, atol=10 * torch.finfo(dtype).eps * float(expected.abs().max()))


# --- bad input -------------------------------------------------------------------------------------------------------

MASK = mask_without_itself()
EMPTY = [torch.zeros(B, 3, D).double()] * LAYERS


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": IDS.float()}, TypeError, "ids must be a tensor of integers with shape (B, T), not a tensor of"),
        ({"ids": IDS + V}, ValueError, "they must be from 0 to 22"),
        ({"real": REAL.long()}, TypeError, "real must be a tensor of bool, True at real tokens"),
        ({"real": REAL[:, :1]}, ValueError, "real has shape (2, 1): it must be (2, 7), as ids"),
        ({"segments": SEGMENTS[:1]}, ValueError, "segments has shape (1, 7): it must be (2, 7), as ids"),
        ({"segments": REAL}, TypeError, "segments must be a tensor of integers, not a tensor of torch.bool"),
        ({"mask": MASK.long()}, TypeError, "mask must be a tensor of bool, True where attending is allowed"),
        ({"mask": MASK[:, :5]}, ValueError, "mask has shape (2, 5, 7): it must broadcast to the scores, (2, 7, 7)"),
        ({"queries": QUERIES}, ValueError, "queries are given, but no mask: they would read the tokens that"),
        ({"queries": QUERIES[0], "mask": MASK}, TypeError, "queries must be integers with shape (2, P), not a tensor"),
        ({"queries": QUERIES[:1], "mask": MASK}, TypeError, "of torch.int64 with shape (1, 3)"),
        ({"queries": QUERIES[:, :0], "mask": MASK}, TypeError, "of torch.int64 with shape (2, 0)"),
        ({"queries": QUERIES / 1, "mask": MASK}, TypeError, "of torch.float32 with shape (2, 3)"),
        ({"queries": QUERIES + 1, "mask": MASK}, ValueError, "queries run from 1 to 7: they must be from 0 to 6"),
        ({"queries": QUERIES - 1, "mask": MASK}, ValueError, "queries run from -1 to 5: they must be from 0 to 6"),
        ({"memory": EMPTY[:2]}, ValueError, "memory has 2 entries: each of the 3 layers needs its own"),
        (
            {"memory": [*EMPTY[:2], EMPTY[2][:, 1:]]},
            ValueError,
            "memory has the shapes [(2, 2, 24), (2, 3, 24)]: all must be (2, M, 24), with one M",
        ),
        ({"memory": [layer[:1] for layer in EMPTY]}, ValueError, "memory has the shapes [(1, 3, 24)]: all must be (2"),
    ],
)
def test_what_is_wrong_is_named(arguments, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        xlnet()(**({"ids": IDS} | arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rotary"}, "positions is 'rotary': XLNet's query stream needs 'transformer-xl'"),
        ({"qk_norm": True}, "qk_norm is True: XLNet's queries are not normed, it must be False"),
        ({"heads": 5}, "heads is 5: width (24) must be a multiple of it"),
    ],
)
def test_a_configuration_that_is_none_of_xlnets_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        XLNetConfig(**(SIZES | changes))
