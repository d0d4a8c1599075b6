"""A model that was saved is the same model when it is loaded, and a pair that does not belong together is refused."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from course_lib.data.tokenizers import BytePairTokenizer, CharacterTokenizer
from course_lib.models import weights
from course_lib.models.decoder import GPT, GPTConfig, gpt2_config
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig, t5_config
from course_lib.models.parts import NORMS
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.models.storage import CheckpointError, read_folder, write_folder
from course_lib.models.weights import (
    SHIPPED,
    load_model,
    load_shipped,
    load_with_tokenizer,
    save_model,
    save_with_tokenizer,
)
from course_lib.training.lora import add_lora, merge_lora

ROOT = Path(__file__).resolve().parents[2]
IDS = torch.tensor([[3, 0, 7, 2, 2], [1, 8, 6, 4, 5]])
TEXT = "Rose found a rose."


def small(**changes: Any) -> GPT:
    """Every part away from its default, so that a part that is not kept shows."""
    parts: dict[str, Any] = {
        "vocabulary": 11,
        "kv_heads": 1,
        "window": 3,
        "hidden": 10,
        "positions": "t5",
        "logit_cap": 7.5,
    }
    return made(GPT(GPTConfig(context=9, layers=3, heads=2, width=8, **(parts | changes))))


def made(model: Any) -> Any:
    """All weights random: as made, output projections are zero, and would hide what stands before them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model.eval()


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(IDS, IDS[:, :3]) if isinstance(model, Transformer) else model(IDS)


@pytest.mark.parametrize(
    "model",
    [
        small(),
        small(positions="alibi", dropout=0.5),
        small().bfloat16(),
        small().double(),
        made(GPT(gpt2_config(11, context=9, layers=2, heads=2, width=8))),  # tied
        made(Transformer(TransformerConfig(11, layers=2, heads=2, width=8, hidden=6, positions="learned"))),
        made(Transformer(TransformerConfig(11, layers=2, heads=2, width=8, block="pre", tied=False, norm="rms"))),
        made(Transformer(t5_config(11, 2, 3, 8, head_width=5, gated=True))),
        made(BERT(BERTConfig(11, context=9, layers=2, heads=2, width=8, hidden=6, segments=3))),
        made(XLNet(XLNetConfig(11, layers=3, heads=2, width=8, hidden=6, block="pre"))),
    ],
    ids=[
        "GPT",
        "ALiBi",
        "bfloat16",
        "float64",
        "GPT-2",
        "Transformer",
        "Transformer, other parts",
        "T5",
        "BERT",
        "XLNet",
    ],
)
def test_what_is_loaded_gives_the_same_outputs_to_the_bit(tmp_path, model):
    save_model(tmp_path / "saved", model)
    loaded = load_model(tmp_path / "saved")
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert not any(module.training for module in loaded.modules())
    assert torch.equal(output(loaded), output(model))
    assert [(n, p.dtype, p.requires_grad) for n, p in loaded.named_parameters()] == [
        (n, p.dtype, p.requires_grad) for n, p in model.named_parameters()
    ]


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    model = made(GPT(gpt2_config(11, context=9, layers=2, heads=2, width=8)))
    save_model(tmp_path / "saved", model)
    tensors, _ = read_folder(tmp_path / "saved")
    assert "unembedding.weight" not in tensors["model.safetensors"]
    loaded: Any = load_model(tmp_path / "saved")
    assert loaded.unembedding.weight is loaded.embedding.weight


def test_facts_stand_beside_the_weights(tmp_path):
    save_model(tmp_path / "saved", small(), corpus="storyworld", loss=0.61, seeds=[1, 2])
    _, facts = read_folder(tmp_path / "saved")
    assert facts["model"] == "GPT"
    assert facts["config"]["kv_heads"] == 1
    assert facts | {"corpus": "storyworld", "loss": 0.61, "seeds": [1, 2]} == facts
    with pytest.raises(ValueError, match=r"^facts has the name 'config'"):
        save_model(tmp_path / "other", small(), config={})
    assert not (tmp_path / "other").exists()


def test_loading_uses_up_no_random_number(tmp_path):
    save_model(tmp_path / "saved", small())
    before = torch.get_rng_state()
    load_model(tmp_path / "saved")
    assert torch.equal(torch.get_rng_state(), before)


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = GPTConfig(11)


class GPT2(GPT):
    """A model of a learner: ``load_model`` would build the wrong class."""


@pytest.mark.parametrize(
    ("model", "name"),
    [(Wrapped(), "Wrapped"), (GPT2(GPTConfig(11, layers=1, heads=1, width=4)), "GPT2"), (nn.Linear(1, 1), "Linear")],
)
def test_a_model_that_could_not_be_built_again_is_not_saved(tmp_path, model, name):
    with pytest.raises(TypeError, match=rf"^model is a {name}: it must be one of GPT, Transformer"):
        save_model(tmp_path / "saved", model)
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "holds no model of the kinds GPT, Transformer, BERT, XLNet: it was not made by save_model"),
        ({"model": "ELMo", "config": {"vocabulary": 11}}, "holds no model of the kinds"),
        ({"model": "GPT", "config": {"vocabulary": 11, "colour": "red"}}, "holds a configuration .*colour"),
        ({"model": "GPT", "config": {"vocabulary": 11, "norm": "mine"}}, "holds a configuration .*norm is 'mine'"),
        (
            {"model": "GPT", "config": {"vocabulary": 11, "width": 6, "heads": 1, "layers": 1}},
            "the weights are of another model",
        ),
    ],
)
def test_a_folder_that_is_whole_but_holds_something_else_is_refused(tmp_path, facts, message):
    write_folder(tmp_path / "saved", {"model.safetensors": {"embedding.weight": torch.ones(11, 4)}}, facts)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "saved")


def test_a_damaged_folder_is_refused(tmp_path):
    save_model(tmp_path / "saved", small())
    file = tmp_path / "saved" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has other bytes than were written"):
        load_model(tmp_path / "saved")


def test_a_part_of_ones_own_loads_where_it_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(NORMS, "none", lambda config: nn.Identity())
    model = small(norm="none")
    save_model(tmp_path / "saved", model)
    assert torch.equal(output(load_model(tmp_path / "saved")), output(model))


# --- with a tokenizer ------------------------------------------------------------------------------------------------

CHARACTERS = CharacterTokenizer.train(TEXT, special_tokens=["<|end|>"])
BYTE_PAIRS = BytePairTokenizer.train([TEXT * 3], 260, special_tokens=["<|end|>"])


@pytest.mark.parametrize("tokenizer", [CHARACTERS, BYTE_PAIRS], ids=["characters", "byte pairs"])
def test_a_pair_comes_back_together(tmp_path, tokenizer):
    model = small(vocabulary=300)
    save_with_tokenizer(tmp_path / "deep" / "pair", model, tokenizer, seed=3)
    loaded, its_tokenizer = load_with_tokenizer(tmp_path / "deep" / "pair")
    assert torch.equal(output(loaded), output(model))
    assert type(its_tokenizer) is type(tokenizer)
    assert its_tokenizer.encode(TEXT + "<|end|>", allow_special=True) == tokenizer.encode(
        TEXT + "<|end|>", allow_special=True
    )
    _, facts = read_folder(tmp_path / "deep" / "pair" / "model")
    assert facts["seed"] == 3
    save_with_tokenizer(tmp_path / "deep" / "pair", model, tokenizer)  # over what is there


def test_the_tokenizer_of_another_model_is_refused(tmp_path):
    save_with_tokenizer(tmp_path / "one", small(vocabulary=13), CHARACTERS)
    save_with_tokenizer(
        tmp_path / "two", small(vocabulary=13), CharacterTokenizer.train(TEXT.upper(), special_tokens=["<|end|>"])
    )
    shutil.copy(tmp_path / "two" / "tokenizer.json", tmp_path / "one")
    with pytest.raises(CheckpointError, match=r"one/tokenizer\.json is not the tokenizer that this model was trained"):
        load_with_tokenizer(tmp_path / "one")
    (tmp_path / "one" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"one/tokenizer\.json is missing"):
        load_with_tokenizer(tmp_path / "one")


def test_a_tokenizer_with_more_ids_than_the_model_knows_is_not_saved_with_it(tmp_path):
    with pytest.raises(ValueError, match=r"^tokenizer has 13 ids, but the vocabulary of model is 12$"):
        save_with_tokenizer(tmp_path / "pair", small(vocabulary=12), CHARACTERS)
    assert not (tmp_path / "pair").exists()


def test_a_pair_stays_whole_where_the_next_one_cannot_be_saved(tmp_path):
    model = small(vocabulary=13)
    save_with_tokenizer(tmp_path / "pair", model, CHARACTERS)
    other = CharacterTokenizer.train(TEXT.upper(), special_tokens=["<|end|>"])
    with pytest.raises(TypeError, match=r"^facts must hold what JSON can"):
        save_with_tokenizer(tmp_path / "pair", model, other, seed=object())
    loaded, its_tokenizer = load_with_tokenizer(tmp_path / "pair")
    assert torch.equal(output(loaded), output(model))
    assert its_tokenizer.encode(TEXT) == CHARACTERS.encode(TEXT)
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == ["model", "tokenizer.json"]


def test_a_model_with_lora_is_saved_when_it_is_merged(tmp_path):
    model = made(add_lora(small(), rank=2, alpha=4))
    with pytest.raises(
        ValueError, match=r"^model has LoRA, as blocks\.0\.attention\.qkv\.lora_a: merge_lora.* save_adapter"
    ):
        save_model(tmp_path / "saved", model)
    assert not (tmp_path / "saved").exists()
    save_model(tmp_path / "saved", merge_lora(model))
    assert torch.equal(output(load_model(tmp_path / "saved")), output(model))


def test_a_model_without_a_tokenizer_is_no_pair(tmp_path):
    save_model(tmp_path / "model", small())
    with pytest.raises(CheckpointError, match=r"model was saved without a tokenizer: use load_model"):
        load_with_tokenizer(tmp_path)


# --- what ships ------------------------------------------------------------------------------------------------------


def test_what_ships_is_loaded_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    model = small(vocabulary=13)
    save_with_tokenizer(tmp_path / "small-gpt", model, CHARACTERS)
    (tmp_path / "README.md").write_text("no model")
    loaded, tokenizer = load_shipped("small-gpt")
    assert torch.equal(output(loaded), output(model))
    assert tokenizer.vocab_size == CHARACTERS.vocab_size
    for name in ("large-gpt", "README.md", "", "../small-gpt", "small-gpt/model"):
        with pytest.raises(ValueError, match=r"^name is .*: with the course come 'small-gpt'$"):
            load_shipped(name)


@pytest.mark.parametrize("folder", ["", "nothing"])
def test_where_nothing_ships_it_says_so(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / folder)
    with pytest.raises(ValueError, match=r"^name is 'storyworld-gpt': with the course come no models yet$"):
        load_shipped("storyworld-gpt")


def test_all_that_ships_is_whole_small_and_part_of_the_installed_package():
    files = {path for path in SHIPPED.rglob("*") if path.is_file()}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in settings["course_lib.models"] for path in SHIPPED.parent.glob(pattern)}
    assert packed == files
    for folder in SHIPPED.iterdir() if SHIPPED.is_dir() else []:
        model, tokenizer = load_shipped(folder.name)
        assert tokenizer.vocab_size <= model.config.vocabulary  # type: ignore[operator,union-attr]
        facts = json.loads((folder / "model" / "facts.json").read_text("utf-8"))
        assert facts["files"]["model.safetensors"]["size"] < 10_000_000
