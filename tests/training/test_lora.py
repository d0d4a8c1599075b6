"""LoRA: what it computes, what learns and what stays; merged and apart; adapters that fit their base and no other."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.data.batches import EpochBatches
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.storage import CheckpointError, write_folder
from course_lib.models.tensors import load_model_tensors, model_tensors
from course_lib.models.weights import load_model, save_model
from course_lib.objectives.causal import causal_loss
from course_lib.objectives.tasks import LabelledBatch, classification_loss
from course_lib.runtime import seed_everything
from course_lib.training.callbacks import Progress
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.loop import train
from course_lib.training.lora import (
    LoRALinear,
    MergedLinear,
    add_lora,
    load_adapter,
    lora_parameters,
    merge_lora,
    save_adapter,
    unmerge_lora,
)
from course_lib.training.optimisers import AdamW, muon_and_adamw
from tests.layers.helpers import assert_same, randn, randomized, seeded, unchecked, wrong
from tests.models.helpers import LAYERS, SIZES, B, D, S, T, V, gpt, random_ids, transformer
from tests.training.lora_helpers import ALPHA, IDS, MODELS, RANK, REAL, SOURCE, TARGET, classifier, with_lora

QKV_AND_OUT = [f"blocks.{i}.attention.{part}" for i in range(LAYERS) for part in ("qkv", "out")]


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_bits(result: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        assert result[name].dtype == tensor.dtype
        assert torch.equal(result[name], tensor), name


# --- one layer --------------------------------------------------------------------------------------------------------


def test_a_layer_by_hand():
    base = nn.Linear(3, 2)
    base.weight.data, base.bias.data = torch.tensor([[1.0, 0, 2], [0, 3, 0]]), torch.tensor([0.5, -1])
    layer = LoRALinear(base, rank=1, alpha=4.0)
    layer.lora_a.data, layer.lora_b.data = torch.tensor([[1.0, 1, -1]]), torch.tensor([[2.0], [-1]])
    assert layer(torch.tensor([1.0, 2, 1])).tolist() == [3.5 + 4 * 2 * 2, 5 - 4 * 2]
    assert layer.weight.tolist() == [[9.0, 8, -6], [-4, -1, 4]]
    assert LoRALinear(nn.Linear(6, 5), rank=4, alpha=2.0).scale == 0.5


# --- the beginning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_at_first_it_is_the_base_bit_for_bit(dtype):
    for make, inputs in MODELS.values():
        model = make().to(dtype)
        expected = model(*inputs)
        add_lora(model, rank=RANK, alpha=ALPHA, targets=("attention.qkv", "out", "up"))
        assert all(p.dtype == dtype for p in model.parameters())
        assert torch.equal(model(*inputs), expected)


def test_a_is_normal_with_one_over_d_and_b_is_zero():
    layer = LoRALinear(nn.Linear(400, 300), rank=100, alpha=1.0, generator=seeded(0))
    assert not layer.lora_b.any()
    assert layer.lora_a.shape == (100, 400)
    assert layer.lora_b.shape == (300, 100)
    in_units = layer.lora_a.detach() * 400**0.5
    assert abs(in_units.std() - 1) < 0.02  # 40,000 draws: 1 / sqrt(80,000) = 0.0035 is one standard error
    assert 0.031 < (in_units.abs() > 2).float().mean() < 0.060  # 0.0455 of a normal distribution, 0 of a uniform one


def test_the_generator_decides_and_nothing_else_is_drawn_from():
    models: list[Any] = [gpt() for _ in range(4)]
    state = torch.get_rng_state()
    for model, seed in zip(models, (4, 4, 5), strict=False):
        add_lora(model, rank=RANK, alpha=ALPHA, generator=seeded(seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal_bits(models[0].state_dict(), models[1].state_dict())
    assert not torch.equal(models[0].blocks[0].attention.qkv.lora_a, models[2].blocks[0].attention.qkv.lora_a)
    add_lora(models[3], rank=RANK, alpha=ALPHA)
    assert not torch.equal(torch.get_rng_state(), state)  # PyTorch's own, where none is given


# --- what learns -----------------------------------------------------------------------------------------------------


def test_only_a_and_b_learn_and_what_also_names():
    model = gpt()
    model.embedding.requires_grad_(False)
    assert add_lora(model, rank=RANK, alpha=ALPHA, also=("unembedding", "blocks.1.feedforward")) is model
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    lora = {f"{name}.lora_{which}" for name in QKV_AND_OUT for which in "ab"}
    also = {"unembedding.weight", "blocks.1.feedforward.up.weight", "blocks.1.feedforward.down.weight"}
    assert learning == lora | also
    assert lora_parameters(model).keys() == lora
    assert all(p.requires_grad for p in lora_parameters(model).values())
    numbers = sum(p.numel() for p in lora_parameters(model).values())
    assert numbers == LAYERS * RANK * ((D + 3 * D) + (D + D))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["blocks.1.attention.out"], ["blocks.1.attention.out"]),
        (["1.attention.out"], ["blocks.1.attention.out"]),
        (["out", "blocks.0.feedforward.up"], ["blocks.0.attention.out", "blocks.0.feedforward.up", *QKV_AND_OUT[3::2]]),
        (["unembedding"], ["unembedding"]),
    ],
)
def test_a_target_is_a_name_or_its_end(targets, expected):
    model = with_lora(gpt(), targets=targets)
    assert [name.removesuffix(".lora_a") for name in lora_parameters(model)][::2] == expected


def test_self_attention_alone_can_be_named():
    model = with_lora(transformer(), targets=("attention.qkv",))
    assert all(".attention.qkv." in name for name in lora_parameters(model))
    assert len(lora_parameters(model)) == 2 * 2 * LAYERS


def test_dropout_acts_on_what_the_detour_reads_in_training_alone():
    layer = with_lora(nn.Sequential(nn.Linear(40, 7).double()), targets=("0",), rank=2, dropout=0.5)[0].train()
    x = randn(3, 40)
    torch.manual_seed(3)
    result = layer(x)
    torch.manual_seed(3)
    dropped = F.dropout(x, 0.5)
    assert_same(result, layer.base(x) + dropped @ layer.lora_a.mT @ layer.lora_b.mT * ALPHA / 2)
    assert_same(layer.eval()(x), F.linear(x, layer.weight, layer.bias))


def test_the_mode_of_the_model_is_that_of_lora():
    for mode in (True, False):
        model = add_lora(gpt().train(mode), rank=RANK, alpha=ALPHA, dropout=0.1)
        assert {module.training for module in model.modules()} == {mode}
        assert {module.training for module in merge_lora(model).modules()} == {mode}
        assert {module.training for module in unmerge_lora(model.train(not mode)).modules()} == {not mode}


# --- layers whose weight is read directly ----------------------------------------------------------------------------


def by_hand(model: Any) -> Any:
    """The model with W + s B A in the place of each layer with LoRA: a new nn.Linear."""
    model = copy.deepcopy(model)
    for parent in [*model.modules()]:
        for name, layer in [*parent.named_children()]:
            if isinstance(layer, LoRALinear):
                base = layer.base
                base.weight.data = base.weight + ALPHA / RANK * torch.einsum("er,rd->ed", layer.lora_b, layer.lora_a)
                setattr(parent, name, base)
    return model


def test_cross_attention_reads_rows_of_the_matrix_with_lora():
    model = with_lora(transformer(bias=True), targets=("cross.qkv",))
    plain = by_hand(model)
    assert_same(model(SOURCE, TARGET, REAL), plain(SOURCE, TARGET, REAL), atol=1e-11)
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    weight = randn(B, T, V, seed=3)
    (model(SOURCE, TARGET, REAL) * weight).sum().backward()
    (plain(SOURCE, TARGET, REAL) * weight).sum().backward()
    for i in range(LAYERS):
        layer, whole = model.decoder[i].cross.qkv, plain.decoder[i].cross.qkv.weight.grad
        assert_same(layer.lora_a.grad, ALPHA / RANK * layer.lora_b.mT @ whole, atol=1e-9)
        assert_same(layer.lora_b.grad, ALPHA / RANK * whole @ layer.lora_a.mT, atol=1e-9)


def test_with_a_cache_it_writes_the_same():
    model = with_lora(transformer())
    with torch.no_grad():
        memory, caches = model.encode(SOURCE, REAL), model.new_caches()
        steps = [model.decode(TARGET[:, i : i + 1], memory, REAL, caches) for i in range(T)]
    assert_same(torch.cat(steps, dim=1), by_hand(model)(SOURCE, TARGET, REAL), atol=1e-11)


def test_dropout_and_a_weight_that_is_read_directly_are_refused_in_training():
    model = with_lora(transformer(dropout=0.0), dropout=0.25).train()
    with pytest.raises(ValueError, match=r"^dropout is 0\.25, but this layer's weight is read directly \(as cross-att"):
        model(SOURCE, TARGET)
    assert_same(model.eval()(SOURCE, TARGET), by_hand(model)(SOURCE, TARGET), atol=1e-11)
    model = with_lora(transformer(dropout=0.0), dropout=0.25, targets=("attention.qkv", "out")).train()
    model(SOURCE, TARGET)  # what is not read directly may have it


def test_pytorchs_own_layers_read_their_weights_directly_too():
    layer = randomized(nn.TransformerEncoderLayer(12, 3, 17, dropout=0.0, batch_first=True)).eval()
    x = randn(B, T, 12)
    for training in (False, True):
        model = with_lora(copy.deepcopy(layer), targets=("out_proj", "linear1", "linear2")).train(training)
        assert_same(model(x), by_hand(model)(x), atol=1e-11)
        assert not torch.allclose(model(x), layer(x))


# --- training --------------------------------------------------------------------------------------------------------


def small(**changes: Any) -> GPT:
    seed_everything(0)
    return GPT(GPTConfig(**(SIZES | {"zero_init": False, "dropout": 0.2} | changes)))


class Killed(Exception):
    """Ends a training anywhere."""


def trained(model: GPT, *, steps: int = 6, kill: int | None = None, muon: bool = False, **options: Any) -> list[float]:
    def stop(progress: Progress) -> None:
        if progress.step == kill:
            raise Killed

    seed_everything(2)
    rows = random_ids(30, T + 1, seed=8) % 4
    optimisers = muon_and_adamw(model) if muon else AdamW(model.parameters(), lr=0.02)
    history = train(
        model,
        EpochBatches((rows[:, :-1], rows[:, 1:]), 5, seed=1),
        causal_loss,
        optimisers,
        steps=steps,
        callbacks=[stop],
        **options,
    )
    return history.losses


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_lowers_the_loss_and_moves_nothing_that_is_frozen(muon, precision):
    base = small()
    model = add_lora(copy.deepcopy(base), rank=RANK, alpha=ALPHA, also=("unembedding",))
    before = bits(model)
    losses = trained(model, steps=25, muon=muon, precision=precision)
    assert losses[-1] < losses[0] - 0.1
    learned = {*lora_parameters(model), "unembedding.weight"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in learned), name


def test_an_optimiser_of_what_learns_alone_does_the_same():
    losses = []
    for all_of_them in (True, False):
        model = add_lora(small(), rank=RANK, alpha=ALPHA)
        parameters = model.parameters() if all_of_them else lora_parameters(model).values()
        seed_everything(2)
        rows = random_ids(30, T + 1, seed=8)
        batches = EpochBatches((rows[:, :-1], rows[:, 1:]), 5, seed=1)
        losses.append(train(model, batches, causal_loss, AdamW([*parameters], lr=0.02), steps=4).losses)
    assert losses[0] == losses[1]


def test_a_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    def fresh() -> GPT:
        return add_lora(small(), rank=RANK, alpha=ALPHA, dropout=0.3)

    whole, resumed = fresh(), fresh()
    expected = trained(whole)
    with pytest.raises(Killed):
        trained(fresh(), kill=4, checkpoints=Checkpoints(tmp_path, every=3))
    assert trained(resumed, checkpoints=Checkpoints(tmp_path, every=3)) == expected
    assert_equal_bits(resumed.state_dict(), whole.state_dict())


def test_state_dict_and_model_tensors_go_back_into_a_model_of_the_same_kind():
    for tied in (False, True):
        model, other = (with_lora(gpt(tied=tied)) for _ in range(2))
        for parameter in other.parameters():
            parameter.data += 1
        load_model_tensors(other, model_tensors(model))
        assert_equal_bits(other.state_dict(), model.state_dict())
        fresh = add_lora(gpt(tied=tied), rank=RANK, alpha=ALPHA)
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(fresh(IDS), model(IDS))


# --- merged and apart ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_merged_it_says_the_same_and_is_like_its_base(name):
    make, inputs = MODELS[name]
    base = make()
    model = with_lora(make())
    expected, before = model(*inputs), bits(model)
    assert merge_lora(model) is model
    assert_same(model(*inputs), expected, atol=1e-11)
    assert model.state_dict().keys() == base.state_dict().keys()
    assert not lora_parameters(model)
    assert not any(p.requires_grad for p in model.parameters())
    assert unmerge_lora(model) is model
    assert_equal_bits(model.state_dict(), before)
    assert torch.equal(model(*inputs), expected)
    assert all(p.requires_grad for p in lora_parameters(model).values())


def test_a_merged_copy_moved_to_another_dtype_comes_apart_there():
    model = copy.deepcopy(merge_lora(with_lora(gpt(bias=True))))
    unmerge_lora(model.float())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert len(lora_parameters(model)) == 2 * len(QKV_AND_OUT)
    model(IDS)


def test_merged_it_is_saved_like_any_model(tmp_path):
    model = with_lora(gpt(bias=True))
    save_model(tmp_path / "merged", merge_lora(model))
    loaded = load_model(tmp_path / "merged")
    assert torch.equal(loaded(IDS), model(IDS))
    assert not any(isinstance(module, LoRALinear | MergedLinear) for module in loaded.modules())


def test_a_layer_in_two_places_stays_one():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(4, 4).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)))

    model, x = randomized(Twice()), randn(3, 4)
    with_lora(model, targets=("first",))
    assert model.first is model.second
    expected = model(x)
    merge_lora(model)
    assert model.first is model.second
    assert_same(model(x), expected)
    assert unmerge_lora(model).second is model.first


# --- adapters --------------------------------------------------------------------------------------------------------


def saved(folder: Path, **changes: Any) -> Any:
    """An adapter of ``gpt()`` on the disk, and the model that it was saved of."""
    model = with_lora(gpt(), **changes)
    for name, p in model.named_parameters():
        if p.requires_grad and "lora" not in name:
            p.data += randn(*p.shape, seed=9)
    save_adapter(folder, model)
    return model


@pytest.mark.parametrize("also", [(), ("unembedding", "embedding")])
def test_an_adapter_on_its_base_is_the_model_that_was_saved(tmp_path, also):
    expected = saved(tmp_path / "adapter", also=also, dropout=0.25)
    base = gpt().train()
    state = torch.get_rng_state()
    model = load_adapter(tmp_path / "adapter", base)
    assert model is base
    assert torch.equal(torch.get_rng_state(), state)
    assert {module.training for module in model.modules()} == {True}
    assert_equal_bits(model.state_dict(), expected.state_dict())
    assert torch.equal(model.eval()(IDS), expected(IDS))
    learning = [[n for n, p in m.named_parameters() if p.requires_grad] for m in (model, expected)]
    assert learning[0] == learning[1]
    for name, layer in model.named_modules():
        if isinstance(layer, LoRALinear):
            other = expected.get_submodule(name)
            assert (layer.rank, layer.alpha, layer.scale, layer.dropout.p) == (RANK, ALPHA, ALPHA / RANK, 0.25)
            assert other.scale == layer.scale


def test_an_adapter_is_small(tmp_path):
    model = add_lora(GPT(GPTConfig(600, layers=3, heads=4, width=96)), rank=2, alpha=4.0)
    save_adapter(tmp_path / "adapter", model)
    size = sum(file.stat().st_size for file in (tmp_path / "adapter").iterdir())
    numbers = sum(p.numel() for p in lora_parameters(model).values())
    whole = 4 * sum(p.numel() for p in model.parameters())
    assert 4 * numbers < size < 4 * numbers + 4_000
    assert size < whole / 50


def test_adapters_take_turns_on_one_base(tmp_path):
    models = [saved(tmp_path / str(rank), rank=rank, targets=targets) for rank, targets in ((2, ["qkv"]), (3, ["up"]))]
    base = gpt()
    for turn in (0, 1, 0):
        load_adapter(tmp_path / str(2 + turn), base)
        assert_equal_bits(base.state_dict(), models[turn].state_dict())
        assert torch.equal(base(IDS), models[turn](IDS))


def test_an_adapter_of_a_tied_model_knows_its_base(tmp_path):
    model = with_lora(gpt(tied=True), also=("embedding",))
    model.embedding.weight.data += 1
    save_adapter(tmp_path / "adapter", model)
    loaded = load_adapter(tmp_path / "adapter", gpt(tied=True))
    assert torch.equal(loaded(IDS), model(IDS))
    assert loaded.unembedding.weight is loaded.embedding.weight


def other_numbers() -> nn.Module:
    model: Any = gpt()
    model.blocks[2].feedforward.up.weight.data[3, 5] += 1e-9
    return model


def test_bert_learns_a_task_of_lora_and_a_new_head(tmp_path):
    """What is saved fits the same BERT with another new head, and nothing of BERT itself is in it."""
    model = add_lora(classifier(), rank=RANK, alpha=ALPHA, also=("classifier",), generator=seeded(1)).float()
    before = bits(model)
    ids = random_ids(30, S, seed=3)
    labels = (ids[:, 0] % 4).long()
    batches = EpochBatches(
        LabelledBatch(ids, torch.ones(30, S, dtype=torch.bool), torch.zeros_like(ids), labels), 6, seed=0
    )
    seed_everything(0)
    losses = train(model, batches, classification_loss, AdamW(model.parameters(), lr=0.01), steps=40).losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])  # an epoch has five steps
    learned = {*lora_parameters(model), "classifier.weight", "classifier.bias"}
    assert {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])} == learned

    save_adapter(tmp_path / "adapter", model)
    [file] = (tmp_path / "adapter").glob("*.safetensors")
    assert file.stat().st_size < 4 * sum(p.numel() for p in model.parameters() if p.requires_grad) + 4_000
    loaded = load_adapter(tmp_path / "adapter", classifier(seed=5).float())
    assert torch.equal(loaded(SOURCE, REAL), model.eval()(SOURCE, REAL))

    alone = add_lora(classifier(), rank=RANK, alpha=ALPHA)  # its head stays as it was drawn: another one does not fit
    save_adapter(tmp_path / "alone", alone)
    load_adapter(tmp_path / "alone", classifier())
    with pytest.raises(CheckpointError, match="the weights that were frozen are other numbers here"):
        load_adapter(tmp_path / "alone", classifier(seed=5))


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "narrower": (lambda: gpt(width=12), rf"blocks\.0\.attention\.qkv is a layer from {D} to {3 * D} .* from 12 to 36"),
    "fewer layers": (lambda: gpt(layers=2), r"it has LoRA for blocks\.2\.attention\.qkv, and the model has no nn\.Lin"),
    "another kind": (lambda: transformer(), r"it has LoRA for blocks\.0\.attention\.qkv, and the model has no nn\.Lin"),
    "more layers": (lambda: gpt(layers=4), "all sizes fit, but the weights that were frozen are other numbers here"),
    "another vocabulary": (
        lambda: gpt(vocabulary=V + 1),
        rf"for unembedding\.weight it holds torch\.float64 \({V}, {D}\), and the model torch\.float64 \({V + 1}, {D}\)",
    ),
    "other numbers": (
        other_numbers,
        "all sizes fit, but the weights that were frozen are other numbers here, or of an",
    ),
    "another dtype": (lambda: gpt().float(), r"for unembedding\.weight it holds torch\.float64 .* torch\.float32 "),
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_adapter_of_another_base_is_refused_and_nothing_changes(tmp_path, other):
    saved(tmp_path / "adapter", also=("unembedding",))
    make, reason = OTHERS[other]
    model = make()
    before, learning = bits(model), [p.requires_grad for p in model.parameters()]
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(tmp_path))}/adapter is the adapter of another base: {reason}"
    ):
        load_adapter(tmp_path / "adapter", model)
    assert_equal_bits(model.state_dict(), before)
    assert [p.requires_grad for p in model.parameters()] == learning


def test_what_the_base_does_not_have_is_named(tmp_path):
    model: Any = with_lora(
        nn.ModuleDict({"body": nn.Linear(4, 5), "head": nn.Linear(5, 3)}), targets=["body"], also=["head"]
    )
    save_adapter(tmp_path / "adapter", model)
    with pytest.raises(CheckpointError, match=r"for head\.bias it holds torch\.float32 \(3,\), and the model nothing"):
        load_adapter(tmp_path / "adapter", nn.ModuleDict({"body": nn.Linear(4, 5)}))


def test_a_folder_that_is_damaged_or_holds_something_else_is_refused(tmp_path):
    saved(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors has other bytes than were written"):
        load_adapter(tmp_path / "adapter", gpt())
    save_model(tmp_path / "model", GPT(GPTConfig(**SIZES)))
    write_folder(tmp_path / "lies", {"model.safetensors": {}}, {"adapter": "LoRA"})
    for name in ("model", "lies"):
        with pytest.raises(CheckpointError, match=rf"{name} holds no adapter: it was not made by save_adapter$"):
            load_adapter(tmp_path / name, gpt())


# --- bad arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank is 0: it must be at least 1"),
        ({"rank": 2.0}, TypeError, "rank must be an integer, not 2.0"),
        ({"rank": D + 1}, ValueError, f"rank is {D + 1}: a matrix of {3 * D} x {D} has at most {D}"),
        ({"alpha": 0.0}, ValueError, "alpha is 0.0: it must be above 0, as 6 (alpha / rank multiplies B A)"),
        ({"alpha": float("nan")}, ValueError, "alpha is nan: it must be above 0"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0: it must be at least 0 and below 1"),
        ({"targets": "qkv"}, TypeError, "targets must be a list of names, as ('qkv', 'out'), not 'qkv'"),
        ({"also": "unembedding"}, TypeError, "also must be a list of names, as ('qkv', 'out'), not 'unembedding'"),
        ({"targets": ()}, ValueError, "targets is empty: give at least one name, as ('qkv', 'out')"),
        (
            {"targets": ("qkv", "q_proj")},
            ValueError,
            "targets has 'q_proj', and no module is called so; nn.Linear are down, out, qkv, unembedding, up",
        ),
        ({"targets": ("kv",)}, ValueError, "targets has 'kv', and no module is called so"),
        ({"also": ("classifier",)}, ValueError, "also has 'classifier', and no module is called so"),
        ({"also": ("dropout",)}, ValueError, "also names dropout, which has no parameter: there is nothing to learn"),
        (
            {"targets": ("attention",)},
            ValueError,
            "targets name blocks.0.attention, which is a MultiHeadAttention: LoRA is for nn.Linear",
        ),
        (
            {"also": ("blocks.1",)},
            ValueError,
            "also names blocks.1, and targets blocks.1.attention.qkv in it: a layer learns in full, or by LoRA",
        ),
        (
            {"targets": ("unembedding",)},
            ValueError,
            "targets name unembedding, whose weight is tied to another module's: leave it out",
        ),
    ],
)
def test_misuse_is_named_and_nothing_changes(options, error, message):
    model = gpt(tied=True)
    before = bits(model)
    with unchecked(), pytest.raises(error, match=f"^{re.escape(message)}"):
        add_lora(model, **({"rank": 3, "alpha": 6.0} | options))
    assert_equal_bits(model.state_dict(), before)
    assert all(p.requires_grad for p in model.parameters())


def test_what_cannot_follow_is_refused(tmp_path):
    model = gpt()
    with pytest.raises(ValueError, match=r"^model has no LoRA to merge: add_lora or load_adapter puts it in$"):
        merge_lora(model)
    with pytest.raises(ValueError, match=r"^model has no merged LoRA: merge_lora makes it$"):
        unmerge_lora(model)
    with pytest.raises(ValueError, match=r"^model has no LoRA: there is no adapter to save$"):
        save_adapter(tmp_path / "adapter", model)
    saved(tmp_path / "adapter")
    with_lora(model)
    for _ in range(2):  # apart, and merged
        with pytest.raises(
            ValueError, match=r"^model has LoRA already: give the model that it was before, or use load"
        ):
            with_lora(model)
        if lora_parameters(model):
            merge_lora(model)
    for call in (save_adapter, load_adapter):
        with pytest.raises(ValueError, match=r"^model has merged LoRA: unmerge_lora\(model\) first$"):
            call(tmp_path / "adapter", wrong(model))
    unmerge_lora(model).requires_grad_(False)
    with pytest.raises(
        ValueError, match=r"^model has blocks\.0\.attention\.qkv\.lora_a, which is frozen: what learns is"
    ):
        save_adapter(tmp_path / "adapter", model)
