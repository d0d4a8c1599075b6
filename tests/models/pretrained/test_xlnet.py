"""XLNet in Hugging Face's format: what one side writes, the other reads; settings that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.xlnet.configuration_xlnet import XLNetConfig as TheirConfig
from transformers.models.xlnet.modeling_xlnet import XLNetLMHeadModel, XLNetModel

from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.models.pretrained.conversion import PretrainedError
from course_lib.models.pretrained.folders import load_pretrained, save_pretrained
from tests.layers.helpers import assert_same
from tests.models.helpers import LAYERS, SIZES, B, D, F, H, S, V, random_ids, shrunk

IDS, SEGMENTS = random_ids(B, S), torch.tensor([[0, 0, 0, 1, 1, 1, 2], [1, 1, 0, 0, 0, 1, 0]])


def theirs(kind: Any = XLNetLMHeadModel, **settings: Any) -> Any:
    sizes: dict[str, Any] = {"vocab_size": V, "d_model": D, "n_layer": LAYERS, "n_head": H, "d_inner": F}
    return shrunk(kind(TheirConfig(**(sizes | settings))), torch.float32)


@pytest.mark.parametrize(
    "settings",
    [{}, {"ff_activation": "relu", "layer_norm_eps": 1e-2}, {"tie_word_embeddings": False, "mem_len": 3}],
)
def test_what_hugging_face_wrote_gives_the_same_logits_here(tmp_path, settings):
    model = theirs(**settings)
    model.save_pretrained(tmp_path)
    ours: Any = load_pretrained(tmp_path)
    assert type(ours) is XLNet
    assert_same(ours(IDS, segments=SEGMENTS), model(IDS, token_type_ids=SEGMENTS).logits, atol=1e-5)


def test_a_model_without_a_head_is_read_and_its_head_is_the_embedding(tmp_path):
    model = theirs(XLNetModel)
    model.save_pretrained(tmp_path)
    ours: Any = load_pretrained(tmp_path)
    assert_same(ours.hidden(IDS, segments=SEGMENTS), model(IDS, token_type_ids=SEGMENTS).last_hidden_state, atol=1e-5)
    assert ours.unembedding.weight is ours.embedding.weight
    assert not ours.unembedding.bias.any()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"feedforward": "gelu-tanh", "norm_eps": 1e-2, "context": 77},
        {"tied": False, "dropout": 0.3, "hidden": None},
    ],
)
def test_what_was_written_here_gives_the_same_logits_there_and_here_again(tmp_path, changes):
    ours = shrunk(XLNet(XLNetConfig(**(SIZES | changes))), torch.float32)
    save_pretrained(tmp_path, ours)
    read: Any = XLNetLMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    model, notes = read
    assert not any(notes.values())
    expected = ours(IDS, segments=SEGMENTS)
    assert_same(model.eval()(IDS, token_type_ids=SEGMENTS).logits, expected, atol=1e-5)
    again: Any = load_pretrained(tmp_path)
    assert again.config.hidden_width == ours.config.hidden_width
    assert again.config.context == ours.config.context
    assert again.config.dropout == ours.config.dropout
    assert torch.equal(again(IDS, segments=SEGMENTS), expected)
    model.save_pretrained(tmp_path / "theirs")
    written, rewritten = (load_file(folder / "model.safetensors") for folder in (tmp_path, tmp_path / "theirs"))
    assert written.keys() == rewritten.keys()
    assert all(torch.equal(tensor, rewritten[name]) for name, tensor in written.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_type": "uni"}, "config.json has attn_type = 'uni': only 'bi' can be built here"),
        ({"bi_data": True}, "config.json has bi_data = True: only False can be built here"),
        ({"clamp_len": 8}, "config.json has clamp_len = 8: only -1 can be built here"),
        ({"same_length": True}, "config.json has same_length = True: only False can be built here"),
        ({"untie_r": False}, "config.json has untie_r = False: only True can be built here"),
        ({"ff_activation": "silu"}, "config.json has ff_activation = 'silu': only 'gelu_new' or"),
        ({"d_head": 6}, "config.json has d_head = 6: only None or 4 can be built here"),
        ({"d_model": None}, "config.json has no 'd_model': a xlnet needs it"),
    ],
)
def test_a_setting_that_cannot_be_built_is_refused(tmp_path, change, message):
    theirs().save_pretrained(tmp_path)
    path = Path(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(PretrainedError) as caught:
        load_pretrained(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{"block": "pre"}, {"norm": "rms"}, {"bias": False}, {"logit_cap": 9.0}])
def test_a_model_with_other_parts_than_xlnets_is_not_written(tmp_path, changes):
    with pytest.raises(PretrainedError, match=next(iter(changes))):
        save_pretrained(tmp_path / "folder", XLNet(XLNetConfig(**(SIZES | changes))))
    assert not (tmp_path / "folder").exists()
