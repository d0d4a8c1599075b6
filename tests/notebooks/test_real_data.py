"""Chapter 07's section on real data, which needs a GPU and a network, with a tiny BERT and made-up examples instead."""

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import nbformat
import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "07_fine_tuning.ipynb"
WORDS = ["a", "film", "good", "bad", "##ly", "Ann", "ann", "lives", "in", "Rome", "rome", "who", "?", ".", ","]
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


def examples(name: str) -> Any:
    rows: Any
    features = None
    match name:
        case "stanfordnlp/sst2":
            rows = [{"sentence": f"a {word} film", "label": n} for n, word in enumerate(("bad", "goodly"))] * 18
        case "eriktks/conll2003":
            tags = datasets.List(datasets.ClassLabel(names=TAGS))
            features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
            rows = [{"tokens": ["Ann", "lives", "in", "Rome", "."], "ner_tags": [1, 0, 0, 5, 0]}] * 33
        case "rajpurkar/squad":
            context, start = "Bad, a film. Ann lives in  Rome.", 13
            answers = {"text": ["Ann"], "answer_start": [start]}
            rows = [{"question": "Who lives in Rome?", "context": context, "answers": answers}] * 33
    data = datasets.Dataset.from_list(rows, features=features)
    return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), data))


@pytest.fixture
def cells(tmp_path, monkeypatch) -> dict[str, Any]:
    """What the cells of the section define."""
    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    sizes: Any = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    BertForPreTraining(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision=None: examples(name))
    found: dict[str, Any] = {"mean": lambda numbers: sum(numbers) / len(numbers)}
    for cell in nbformat.read(CHAPTER, as_version=4).cells:
        if cell.cell_type == "code" and (cell.id in {"imports", "imports-2"} or cell.id.startswith("real")):
            exec(cell.source, found)
    return found


def test_each_job_runs_from_the_data_to_its_score(cells):
    for name, (job, least) in cells["jobs"].items():
        assert 0 <= job() <= 100, name
        assert 70 < least < 100


def test_answers_that_are_those_of_the_labels_score_all(cells):
    cells["predicted_answers"] = lambda model, rows, longest: rows.labels
    assert cells["squad"]() == 100


def test_an_answer_that_was_cut_off_is_not_learned(cells):
    pieces = cells["real_bert"]("cased")[1]
    long = {"question": "who ?", "context": "film " * 400 + "Ann", "answers": {"text": ["Ann"], "answer_start": [2000]}}
    short = long | {"context": "film Ann", "answers": {"text": ["Ann"], "answer_start": [5]}}
    rows, _ = cells["squad_rows"](pieces, [long, short])
    assert rows.ids.shape == (2, 384)
    assert rows.labels.tolist() == [[-100, -100], [5, 5]]
