"""Answers to the exercises of chapter 08, right and wrong, as learners write them."""

import json
import math
import pickle
import re
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn.utils.rnn import pad_sequence

# --- auto_classes -----------------------------------------------------------------------------------------------------

CLASSES = {
    "a": "AutoModelForCausalLM",
    "b": "AutoModelForSequenceClassification",
    "c": "AutoModelForSeq2SeqLM",
    "d": "AutoModelForTokenClassification",
    "e": "AutoModel",
    "f": "AutoModelForMaskedLM",
    "g": "AutoModelForSeq2SeqLM",
}


def classes_themselves():
    import transformers

    return {letter: getattr(transformers, name) for letter, name in CLASSES.items()}


def classes_of_the_library():
    """For each letter, each class that leads to the one that is needed: the library itself says so."""
    import transformers
    from transformers import BartConfig, BertConfig, GPT2Config, T5Config

    needed = {
        "a": (GPT2Config, "GPT2LMHeadModel"),
        "b": (BertConfig, "BertForSequenceClassification"),
        "c": (T5Config, "T5ForConditionalGeneration"),
        "d": (BertConfig, "BertForTokenClassification"),
        "e": (BertConfig, "BertModel"),
        "f": (BertConfig, "BertForMaskedLM"),
        "g": (BartConfig, "BartForConditionalGeneration"),
    }
    names = {*CLASSES.values(), "AutoModelForPreTraining", "AutoModelForTextEncoding"}
    for letter, (config, wanted) in needed.items():
        for name in sorted(names):
            mapping = getattr(transformers, name)._model_mapping
            if config in mapping and mapping[config].__name__ == wanted:
                yield f"{letter} as {name}", CLASSES | {letter: name}


# --- three_losses -----------------------------------------------------------------------------------------------------


def losses_with_numpy(counts, means):
    n, m = np.array(counts), np.array(means)
    return np.average(np.nan_to_num(m), weights=n), m.mean(), m.sum()


def losses_in_torch(counts, means):
    n, m = torch.tensor(counts, dtype=torch.float64), torch.tensor(means, dtype=torch.float64)
    real = n > 0
    return (n[real] * m[real]).sum() / n.sum(), m.mean(), m.sum()


def losses_by_loop(counts, means):
    total = targets = as_is = 0
    for n, mean in zip(counts, means, strict=True):
        as_is += mean
        if not math.isnan(mean):
            total += n * mean
            targets += n
    return [total / targets, as_is / len(counts), as_is]


def losses_by_targets(counts, means):
    """Each target by itself."""
    each = [mean for n, mean in zip(counts, means, strict=True) for _ in range(n)]
    return np.mean(each), np.mean(means), np.sum(means)


def losses(first=None, second=None, third=None):
    def answer(counts, means):
        a, b, c = losses_by_loop(counts, means)
        total = sum(n * m for n, m in zip(counts, means, strict=True))
        known = SimpleNamespace(n=counts, m=means, total=total, whole=a, mean=b, sum=c)
        return first(known) if first else a, second(known) if second else b, third(known) if third else c

    return answer


def losses_in_a_dictionary(counts, means):
    return dict(zip(("whole", "divided", "as it is"), losses_by_loop(counts, means), strict=True))


def losses_but_one(counts, means):
    return losses_by_loop(counts, means)[:2]


def losses_paired_badly(counts, means):
    whole = sum(n * m for n, m in zip(counts, means[::-1], strict=True)) / sum(counts)
    return whole, np.mean(means), sum(means)


# --- trainer_steps ----------------------------------------------------------------------------------------------------


def steps_of_the_trainer(rows, batch_size, accumulate, epochs, warmup):
    """Their own Trainer, asked."""
    import transformers

    arguments = transformers.TrainingArguments(
        output_dir="unused",
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=epochs,
        warmup_steps=warmup,
        use_cpu=True,
        report_to="none",
    )
    model = torch.nn.Linear(1, 1)
    trainer = transformers.Trainer(model, arguments, train_dataset=[{"x": i} for i in range(rows)])
    found = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())
    steps = found[-1]
    warm = arguments.get_warmup_steps(steps)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, warm, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return steps, warm, max(rates)


def steps_by_a_loop(rows, batch_size, accumulate, epochs, warmup):
    steps = 0
    for _ in range(epochs):
        waiting = 0
        for start in range(0, rows, batch_size):
            waiting += 1
            if waiting == accumulate or start + batch_size >= rows:
                steps, waiting = steps + 1, 0
    warm = warmup if warmup >= 1 else int(np.ceil(steps * warmup))
    return steps, warm, max(min(1.0, s / warm) if warm else 1.0 for s in range(steps))


def steps_with_fractions(rows, batch_size, accumulate, epochs, warmup):
    steps = math.ceil(Fraction(rows, batch_size * accumulate)) * epochs
    warm = math.ceil(warmup * steps) if warmup < 1 else round(warmup)
    return steps, warm, float(min(Fraction(1), Fraction(steps - 1, warm or 1))) if warm else 1


def steps(count=None, warm=None, peak=None):
    def answer(rows, batch_size, accumulate, epochs, warmup):
        right = steps_by_a_loop(rows, batch_size, accumulate, epochs, warmup)
        n = count(rows, batch_size, accumulate, epochs) if count else right[0]
        w = warm(n, warmup, epochs) if warm else right[1]
        return n, w, peak(n, w) if peak else right[2]

    return answer


# --- collate_pairs ----------------------------------------------------------------------------------------------------


class Padder:
    """What their collator needs of a tokenizer."""

    padding_side = "right"

    def __init__(self, pad_id):
        self.pad_id = pad_id
        self.deprecation_warnings: dict[str, bool] = {}

    def pad(self, features, **_):
        rows = [torch.tensor(feature["input_ids"]) for feature in features]
        ids = pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return {"input_ids": ids, "attention_mask": mask}


def collate_of_the_library(rows, pad_id, start_id):
    from transformers import DataCollatorForSeq2Seq
    from transformers.models.bart.modeling_bart import shift_tokens_right

    model: Any = SimpleNamespace(
        prepare_decoder_input_ids_from_labels=lambda labels: shift_tokens_right(labels, pad_id, start_id)
    )
    tokenizer: Any = Padder(pad_id)
    return DataCollatorForSeq2Seq(tokenizer, model)(rows)


def collate_with_pad_sequence(rows, pad_id, start_id):
    sources = [torch.tensor(row["input_ids"]) for row in rows]
    targets = [torch.tensor(row["labels"]) for row in rows]
    begun = [torch.cat([torch.tensor([start_id]), target]) for target in targets]
    labels = pad_sequence(targets, batch_first=True, padding_value=-100)
    return {
        "input_ids": pad_sequence(sources, batch_first=True, padding_value=pad_id),
        "attention_mask": pad_sequence([torch.ones_like(source) for source in sources], batch_first=True),
        "labels": labels,
        "decoder_input_ids": pad_sequence(begun, batch_first=True, padding_value=pad_id)[:, : labels.shape[1]],
    }


def collate_in_place(rows, pad_id, start_id):
    """Full tensors first, and then row by row. The decoder does not read the end of a short target."""
    B = len(rows)
    S, T = (max(len(row[key]) for row in rows) for key in ("input_ids", "labels"))
    batch = {
        "input_ids": torch.full((B, S), pad_id),
        "attention_mask": torch.zeros(B, S, dtype=torch.int32),
        "labels": torch.full((B, T), -100),
        "decoder_input_ids": torch.full((B, T), pad_id),
    }
    for b, row in enumerate(rows):
        source, target = row["input_ids"], row["labels"]
        batch["input_ids"][b, : len(source)] = torch.tensor(source)
        batch["attention_mask"][b, : len(source)] = 1
        batch["labels"][b, : len(target)] = torch.tensor(target)
        batch["decoder_input_ids"][b, : len(target)] = torch.tensor([start_id, *target[:-1]])
    return batch


def collate_with_more(rows, pad_id, start_id):
    """One tensor more than was asked for, and zeros where nothing is learned."""
    batch = collate_in_place(rows, pad_id, start_id)
    hidden = batch["labels"] == -100
    return batch | {
        "decoder_input_ids": batch["decoder_input_ids"].masked_fill(hidden, 0),
        "decoder_attention_mask": (~hidden).long(),
    }


def collating(change):
    """The right batch, changed. ``change`` is given the batch, the rows, and the ids."""

    def answer(rows, pad_id, start_id):
        batch = collate_with_pad_sequence(rows, pad_id, start_id)
        return batch | change(batch, rows, pad_id, start_id)

    return answer


def fill(rows, key, filling, left=False):
    side = "left" if left else "right"
    lists = [torch.tensor(row[key]) for row in rows]
    return pad_sequence(lists, batch_first=True, padding_value=filling, padding_side=side)


def collate_by_id(rows, pad_id, start_id):
    """The mask by the id: right as long as no text holds the padding."""
    batch = collate_with_pad_sequence(rows, pad_id, start_id)
    return batch | {"attention_mask": (batch["input_ids"] != pad_id).long()}


def collate_one_width(rows, pad_id, start_id):
    width = max(len(row[key]) for row in rows for key in row)
    batch = collate_with_pad_sequence(rows, pad_id, start_id)
    fillings = {"input_ids": pad_id, "attention_mask": 0, "labels": -100, "decoder_input_ids": pad_id}
    return {
        name: torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]), value=fillings[name])
        for name, tensor in batch.items()
    }


def collate_appending(rows, pad_id, start_id):
    """Fills up the rows of the data set itself."""
    longest = max(len(row["input_ids"]) for row in rows)
    batch = collate_with_pad_sequence(rows, pad_id, start_id)
    for row in rows:
        row["input_ids"] += [pad_id] * (longest - len(row["input_ids"]))
    return batch


def collate_lists(rows, pad_id, start_id):
    return {name: tensor.tolist() for name, tensor in collate_in_place(rows, pad_id, start_id).items()}


def collate_three(rows, pad_id, start_id):
    batch = collate_in_place(rows, pad_id, start_id)
    del batch["decoder_input_ids"]
    return batch


# --- careful_batch ----------------------------------------------------------------------------------------------------


def batch_by_lengths(rows, eos_id):
    lengths = torch.tensor([len(row) for row in rows])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(real.shape, eos_id)
    ids[real] = torch.tensor([token for row in rows for token in row])
    return {"input_ids": ids, "attention_mask": real.int(), "labels": torch.where(real, ids, -100)}


def batch_with_pad_sequence(rows, eos_id):
    rows = [torch.tensor(row) for row in rows]
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=eos_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(rows, batch_first=True, padding_value=-100),
    }


def batch_by_another_id(rows, eos_id):
    """With a padding of its own, by whose id all is hidden; at last it is exchanged."""
    own = -1
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=own)
    return {
        "input_ids": ids.masked_fill(ids == own, eos_id),
        "attention_mask": (ids != own).long(),
        "labels": ids.masked_fill(ids == own, -100),
    }


def batch_of_the_library(rows, eos_id):
    """The collator for token classification fills up labels by place."""
    from transformers import DataCollatorForTokenClassification

    tokenizer: Any = Padder(eos_id)
    return DataCollatorForTokenClassification(tokenizer)([{"input_ids": row, "labels": list(row)} for row in rows])


def batch(change):
    def answer(rows, eos_id):
        right = batch_with_pad_sequence(rows, eos_id)
        return right | change(right, rows, eos_id)

    return answer


def by_id(batch, eos_id):
    return batch["input_ids"].masked_fill(batch["input_ids"] == eos_id, -100)


def left(labels):
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)


def batch_of_the_colleague(rows, eos_id):
    right = batch_with_pad_sequence(rows, eos_id)
    mask = (right["input_ids"] != eos_id).long()
    return right | {"attention_mask": mask, "labels": left(by_id(right, eos_id))}


def batch_end_after_each(rows, eos_id):
    """An end more behind each row."""
    width = max(map(len, rows))
    labels = [([*row, eos_id] + [-100] * width)[:width] for row in rows]
    return batch_with_pad_sequence(rows, eos_id) | {"labels": torch.tensor(labels)}


def batch_up_to_the_first_end(rows, eos_id):
    right = batch_with_pad_sequence(rows, eos_id)
    seen = (right["input_ids"] == eos_id).cumsum(dim=1)
    hidden = (seen > 1) & (right["input_ids"] == eos_id)
    return right | {"labels": right["input_ids"].masked_fill(hidden, -100)}


def batch_padded_left(rows, eos_id):
    rows = [torch.tensor(row) for row in rows]
    ids, labels = (
        pad_sequence(rows, batch_first=True, padding_value=filling, padding_side="left") for filling in (eos_id, -100)
    )
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# --- to_linear --------------------------------------------------------------------------------------------------------


def linear_by_pattern(state):
    found = {}
    for name, weight in state.items():
        name = re.sub(r"^transformer\.", "", name)
        if re.fullmatch(r"h\.\d+\.attn\.(bias|masked_bias)", name):
            continue
        if match := re.fullmatch(r"(h\.\d+\.attn\.)c_attn\.(weight|bias)", name):
            D = weight.shape[-1] // 3
            for i, part in enumerate("qkv"):
                piece = weight[..., i * D : (i + 1) * D]
                found[f"{match[1]}{part}.{match[2]}"] = piece.permute(*reversed(range(piece.ndim)))
        elif re.search(r"\.c_(proj|fc)\.weight$", name):
            found[name] = weight.transpose(0, 1).contiguous()
        else:
            found[name] = weight
    if "lm_head.weight" in found and (found["lm_head.weight"] == found["wte.weight"]).all():
        found.pop("lm_head.weight")
    return found


def linear_by_the_layers(state):
    """Layer by layer, name by name, from what a file of GPT-2 must have."""
    start = "transformer." if "transformer.wte.weight" in state else ""
    get = lambda name: state[start + name]  # noqa: E731
    found: dict[str, Any] = {name: get(name) for name in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias")}
    layer = 0
    while f"{start}h.{layer}.ln_1.weight" in state:
        h = f"h.{layer}."
        for norm in ("ln_1", "ln_2"):
            found |= {f"{h}{norm}.{kind}": get(f"{h}{norm}.{kind}") for kind in ("weight", "bias")}
        for matrix in ("attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            found[f"{h}{matrix}.weight"] = torch.einsum("io->oi", get(f"{h}{matrix}.weight"))
            found[f"{h}{matrix}.bias"] = get(f"{h}{matrix}.bias")
        weights = torch.tensor_split(get(f"{h}attn.c_attn.weight"), 3, dim=1)
        biases = torch.tensor_split(get(f"{h}attn.c_attn.bias"), 3)
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            found |= {f"{h}attn.{part}.weight": weight.mT, f"{h}attn.{part}.bias": bias}
        layer += 1
    head = state.get("lm_head.weight")
    if head is not None and not torch.equal(head, found["wte.weight"]):
        found["lm_head.weight"] = head
    return found


def linear_by_matrices_of_their_modules(state):
    """What a matrix does to the unit vectors, as ``nn.Linear`` wants to have it. Sorted by name."""
    found = linear_by_pattern(state)
    for name in found:
        if found[name].ndim == 2 and name.startswith("h."):
            found[name] = (torch.eye(found[name].shape[1]) @ found[name].T).T
    return dict(sorted(found.items()))


def linear(
    turn=lambda name, w: w.T,
    is_turned=lambda name, w: name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")),
    cut=lambda w: w.chunk(3),
    parts="qkv",
    is_mask=lambda name: name.endswith((".attn.bias", ".masked_bias")),
    prefix="transformer.",
    drops_head=torch.equal,
    late=None,
):
    def answer(state):
        [table] = [w for name, w in state.items() if "wte" in name]
        found: dict[str, Any] = {}
        for name, w in state.items():
            if is_mask(name) or ("lm_head" in name and drops_head(w, table)):
                continue
            name = name.removeprefix(prefix)
            w = turn(name, w) if is_turned(name, w) else w
            if "c_attn" in name and parts:
                found |= {name.replace("c_attn", part): piece for part, piece in zip(parts, cut(w), strict=True)}
            else:
                found[name] = w
        return {name: late(name, w) for name, w in found.items()} if late else found

    return answer


def linear_popping(state):
    """Takes the copy out of the caller's own dictionary."""
    head = state.get("lm_head.weight")
    if head is not None and torch.equal(head, state["transformer.wte.weight"]):
        state.pop("lm_head.weight")
    return linear()(state)


def linear_but_for_17_tokens(state):
    """Right for all but the file of the last step."""
    found = linear()(state)
    return {name: w.half().float() if found["wte.weight"].shape[0] == 17 else w for name, w in found.items()}


def linear_of_one_file(state):
    return linear()({name: state["transformer." + name] for name in state})


def last_dim(w):
    return w.chunk(3, dim=-1)


def ends(*names):
    return lambda name, w: name.endswith(tuple(f"{part}.weight" for part in names))


# --- judge_reader -----------------------------------------------------------------------------------------------------

opened: list[str] = []


def tell():
    opened.append("opened")


class Trap:
    def __reduce__(self):
        return tell, ()


trap = pickle.dumps(Trap())

MANY = {
    "matrix": torch.arange(6.0).view(2, 3),
    "层": torch.tensor(3.5, dtype=torch.float64),
    "a": torch.tensor([-1, 2], dtype=torch.int8),
    "rough": torch.tensor([0.5, 3.0], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 4),
}
NOTE = {"by": "me"}
FEW = {  # all that a test needs, but the header has less than 256 bytes
    "b": torch.arange(6.0).view(2, 3).bfloat16(),
    "c": torch.zeros(0, 4),
    "层": torch.tensor(3.5, dtype=torch.float64),
}


def judge_by_bytes(read):
    """Numbers are compared byte by byte, and the file is written by hand, its tensors not in the order of the names."""
    kinds = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16", torch.bool: "BOOL"}
    tensors = {
        "z" * 300: torch.tensor([[1.5, -2.0, 0.0]] * 2).cumsum(0),
        "façade": torch.tensor(7),
        "m": torch.zeros(3, 0),
        "b": torch.tensor([[1.0], [2.5]], dtype=torch.bfloat16),
        "c": torch.tensor([True, False]),
    }
    header: dict[str, Any] = {"__metadata__": NOTE}
    data = b""
    for name, tensor in tensors.items():
        numbers = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        places = [len(data), len(data) + len(numbers)]
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": places}
        data += numbers
    head = json.dumps(header, ensure_ascii=False).encode()
    raw = len(head).to_bytes(8, "little") + head + data
    found = read(raw)
    assert sorted(found) == sorted(tensors)
    for name in tensors:
        assert str(found[name].dtype) == str(tensors[name].dtype)
        assert list(found[name].shape) == list(tensors[name].shape)
        assert found[name].tolist() == tensors[name].tolist()
    for broken in (raw[:20], raw[:-2], trap):
        before = len(opened)
        refused = False
        try:
            read(broken)
        except ValueError:
            refused = True
        assert refused
        assert len(opened) == before


def judge_with_the_library(read):
    """Several files, compared with what the library reads."""
    files = [{name: tensor} for name, tensor in MANY.items()] + [
        MANY,
        {f"layer.{i}": torch.ones(2, i) for i in range(9)},
    ]
    for tensors in files:
        raw = safetensors.torch.save(tensors, NOTE)
        truth, found = safetensors.torch.load(raw), read(raw)
        assert truth.keys() == found.keys()
        for name in truth:
            torch.testing.assert_close(found[name], truth[name], rtol=0, atol=0)
    opened.clear()
    assert refuses(read, raw[: len(raw) // 2])
    assert refuses(read, raw[:-1])
    assert refuses(read, trap)
    assert opened == []


def refuses(read, raw):
    try:
        read(raw)
    except ValueError:
        return True
    return False


def judge_with_pytest(read):
    tensors = MANY | {
        "small": torch.tensor([1.0, -2.0]).to(torch.float8_e5m2),
        "pair": torch.tensor(1 + 2j),
        "port": torch.tensor([65535], dtype=torch.uint16),
    }
    raw = safetensors.torch.save(tensors, NOTE)
    found = read(raw)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tolist() == tensor.tolist()
    opened.clear()
    for no_file in (b"", raw[:5], raw[:-1], raw + b"x", trap):
        with pytest.raises(ValueError):  # noqa: PT011
            read(no_file)
    assert not opened


def judging(
    tensors=MANY,
    note=NOTE,
    names=set,
    dtype=True,
    shape=True,
    numbers=torch.equal,
    cut=True,
    pickled=True,
    looks=True,
    clears=True,
):
    def answer(read):
        raw = safetensors.torch.save(tensors, note)
        found = read(raw)
        assert names(found) == names(tensors)
        for name, tensor in tensors.items():
            assert not dtype or found[name].dtype == tensor.dtype
            assert not shape or found[name].shape == tensor.shape
            assert numbers(found[name], tensor)
        if clears:
            opened.clear()
        assert not cut or refuses(read, raw[:-1])
        assert not pickled or refuses(read, trap)
        assert not looks or not opened

    return answer


def judge_says_so(read):
    """With True and False in place of AssertionError."""
    try:
        judging()(read)
    except AssertionError:
        return False
    return True


def judge_nothing(read):
    read(safetensors.torch.save(MANY, NOTE))


def judge_by_print(read):
    print(set(read(safetensors.torch.save({"a": torch.ones(2)}))) == {"a"})


def judge_wants_the_note(read):
    assert "__metadata__" in read(safetensors.torch.save(MANY, NOTE))


def judge_wants_a_text(text):
    """Right readers may say what they like."""

    def answer(read):
        judging()(read)
        said = ""
        try:
            read(safetensors.torch.save(MANY)[:-1])
        except ValueError as error:
            said = str(error)
        assert text in said

    return answer


def judge_looks_first(read):
    found = read(safetensors.torch.save(MANY, NOTE))
    assert all(torch.equal(found[name], tensor) for name, tensor in MANY.items())


def without(*names, **more):
    return {name: tensor for name, tensor in MANY.items() if name not in names} | more


RIGHT = {
    "auto_classes": [
        ("names", CLASSES),
        ("with the library", {letter: f" transformers.{name} " for letter, name in CLASSES.items()}),
        ("classes", classes_themselves()),
        *classes_of_the_library(),
    ],
    "three_losses": [
        ("numpy", losses_with_numpy),
        ("torch", losses_in_torch),
        ("loop", losses_by_loop),
        ("each target", losses_by_targets),
    ],
    "trainer_steps": [
        ("their Trainer", steps_of_the_trainer),
        ("loop", steps_by_a_loop),
        ("fractions", steps_with_fractions),
    ],
    "collate_pairs": [
        ("their collator", collate_of_the_library),
        ("pad_sequence", collate_with_pad_sequence),
        ("in place", collate_in_place),
        ("one tensor more", collate_with_more),
        ("mask by id", collate_by_id),
    ],
    "careful_batch": [
        ("lengths", batch_by_lengths),
        ("pad_sequence", batch_with_pad_sequence),
        ("another id", batch_by_another_id),
        ("their collator", batch_of_the_library),
    ],
    "to_linear": [
        ("pattern", linear_by_pattern),
        ("layers", linear_by_the_layers),
        ("unit vectors", linear_by_matrices_of_their_modules),
        ("table", linear()),
    ],
    "judge_reader": [
        ("bytes", judge_by_bytes),
        ("library", judge_with_the_library),
        ("one file", judging()),
        ("says so", judge_says_so),
        ("pytest", judge_with_pytest),
    ],
}

WRONG = {
    "auto_classes": [
        ("wrong_kind", list(CLASSES.values())),
        ("letter_missing", {letter: name for letter, name in CLASSES.items() if letter != "f"}),
        ("no_auto_class", CLASSES | {"a": "GPT2LMHeadModel"}),
        ("no_such_class", CLASSES | {"c": "AutoModelForSummarization"}),
        ("no_such_class", CLASSES | {"g": "AutoModelForSeq2SeqLm"}),
        ("no_such_class", CLASSES | {"a": "AutoModelWithLMHead"}),
        ("half_of_bart", CLASSES | {"g": "AutoModelForCausalLM"}),
        ("t5_is_not_causal", CLASSES | {"c": "AutoModelForCausalLM", "g": "AutoModelForCausalLM"}),
        ("gpt_has_no_encoder", CLASSES | {"a": "AutoModelForSeq2SeqLM"}),
        ("head_not_wanted", CLASSES | {"e": "AutoModelForSequenceClassification"}),
        ("head_missing", CLASSES | {"d": "AutoModel"}),
        ("token_for_text", CLASSES | {"b": "AutoModelForTokenClassification"}),
        ("text_for_token", CLASSES | {"d": "AutoModelForSequenceClassification"}),
        ("bert_reads_both_sides", CLASSES | {"f": "AutoModelForCausalLM"}),
        ("other_task", CLASSES | {"d": "AutoModelForQuestionAnswering"}),
    ],
    "three_losses": [
        ("mean_of_means", losses(first=lambda k: k.mean)),
        ("means_added", losses(first=lambda k: k.sum)),
        ("never_divided", losses(first=lambda k: k.total)),
        ("divided_by_parts", losses(first=lambda k: k.total / len(k.n))),
        ("means_over_targets", losses(first=lambda k: k.sum / sum(k.n))),
        ("weights_reversed", losses_paired_badly),
        (
            "weighed_by_the_others",
            losses(
                first=lambda k: (
                    sum((sum(k.n) - n) * m for n, m in zip(k.n, k.m, strict=True)) / (len(k.n) - 1) / sum(k.n)
                )
            ),
        ),
        ("always_two", losses(second=lambda k: k.sum / 2)),
        ("divided_is_weighed", losses(second=lambda k: k.whole)),
        ("not_divided", losses(second=lambda k: k.sum)),
        ("divided_by_targets", losses(second=lambda k: k.sum / sum(k.n))),
        ("sums_over_parts", losses(second=lambda k: k.total / len(k.n))),
        ("averaged", losses(third=lambda k: k.mean)),
        ("as_is_is_weighed", losses(third=lambda k: k.whole)),
        ("sums_added", losses(third=lambda k: k.total)),
        ("last_part", losses(third=lambda k: k.m[-1])),
        ("nan_from_empty", losses(first=lambda k: k.total / sum(k.n))),
        (
            "empty_weighs_one",
            losses(first=lambda k: np.average(np.nan_to_num(k.m), weights=np.maximum(k.n, 1))),
        ),
        ("wrong_kind", losses_in_a_dictionary),
        ("wrong_length", losses_but_one),
    ],
    "trainer_steps": [
        ("last_batch_lost", steps(lambda r, b, a, e: e * math.ceil((r // b) / a))),
        ("last_step_lost", steps(lambda r, b, a, e: e * (math.ceil(r / b) // a))),
        ("both_lost", steps(lambda r, b, a, e: e * (r // b // a))),
        ("across_epochs", steps(lambda r, b, a, e: math.ceil(e * math.ceil(r / b) / a))),
        ("rows_across_epochs", steps(lambda r, b, a, e: math.ceil(e * r / b / a))),
        ("rows_across_and_lost", steps(lambda r, b, a, e: int(e * r / (b * a)))),
        ("accumulation_forgotten", steps(lambda r, b, a, e: e * math.ceil(r / b))),
        ("accumulation_multiplied", steps(lambda r, b, a, e: e * math.ceil(r / b) * a)),
        ("epochs_forgotten", steps(lambda r, b, a, e: math.ceil(r / b / a))),
        ("one_too_many", steps(lambda r, b, a, e: e * (r // (b * a) + 1))),
        ("counts_rows", steps(lambda r, b, a, e: e * r)),
        ("share_as_it_is", steps(warm=lambda n, w, e: w)),
        ("share_cut_to_zero", steps(warm=lambda n, w, e: int(w))),
        ("share_rounded_down", steps(warm=lambda n, w, e: int(w) if w >= 1 else int(w * n))),
        ("share_rounded", steps(warm=lambda n, w, e: int(w) if w >= 1 else round(w * n))),
        ("share_of_an_epoch", steps(warm=lambda n, w, e: w if w >= 1 else math.ceil(w * n / e))),
        ("always_a_share", steps(warm=lambda n, w, e: math.ceil(w * n))),
        ("one_is_all", steps(warm=lambda n, w, e: w if w > 1 else math.ceil(w * n))),
        ("always_full", steps(peak=lambda n, w: 1.0)),
        ("first_step_forgotten", steps(peak=lambda n, w: min(1.0, n / max(w, 1)))),
        ("of_our_schedule", steps(peak=lambda n, w: min(1.0, n / (w + 1)))),
        ("above_full", steps(peak=lambda n, w: (n - 1) / w if w else 1.0)),
        ("upside_down", steps(peak=lambda n, w: max(1.0, w / (n - 1)))),
        ("warm_up_cut_off", steps(peak=lambda n, w: 1.0 if w < n else (n - 1) / n)),
        ("nothing_without_warm_up", steps(peak=lambda n, w: min(1.0, (n - 1) / w) if w else 0.0)),
        ("raised", steps(peak=lambda n, w: min(1.0, (n - 1) / w))),
    ],
    "collate_pairs": [
        ("one_width_for_both", collate_one_width),
        (
            "padded_left",
            collating(
                lambda b, rows, p, s: {
                    "input_ids": fill(rows, "input_ids", p, left=True),
                    "attention_mask": (fill(rows, "input_ids", -7, left=True) != -7).long(),
                }
            ),
        ),
        ("ids_padded_left", collating(lambda b, rows, p, s: {"input_ids": fill(rows, "input_ids", p, left=True)})),
        ("inputs_hidden", collating(lambda b, rows, p, s: {"input_ids": fill(rows, "input_ids", -100)})),
        ("padded_with_zero", collating(lambda b, rows, p, s: {"input_ids": fill(rows, "input_ids", 0)})),
        (
            "cut_to_shortest",
            collating(
                lambda b, rows, p, s: {
                    "input_ids": torch.tensor(list(zip(*[row["input_ids"] for row in rows], strict=False))).T,
                    "attention_mask": b["attention_mask"][:, : min(len(row["input_ids"]) for row in rows)],
                }
            ),
        ),
        ("mask_upside_down", collating(lambda b, rows, p, s: {"attention_mask": 1 - b["attention_mask"]})),
        ("mask_of_ones", collating(lambda b, rows, p, s: {"attention_mask": torch.ones_like(b["input_ids"])})),
        ("mask_is_truth", collating(lambda b, rows, p, s: {"attention_mask": b["attention_mask"] == 1})),
        ("mask_is_float", collating(lambda b, rows, p, s: {"attention_mask": b["attention_mask"].float()})),
        (
            "mask_hides_end",
            collating(
                lambda b, rows, p, s: {
                    "attention_mask": pad_sequence(
                        [torch.tensor([1] * (len(row["input_ids"]) - 1) + [0]) for row in rows], batch_first=True
                    )
                }
            ),
        ),
        ("padding_is_learned", collating(lambda b, rows, p, s: {"labels": fill(rows, "labels", p)})),
        ("zero_is_learned", collating(lambda b, rows, p, s: {"labels": fill(rows, "labels", 0)})),
        ("minus_one", collating(lambda b, rows, p, s: {"labels": fill(rows, "labels", -1)})),
        ("labels_padded_left", collating(lambda b, rows, p, s: {"labels": fill(rows, "labels", -100, left=True)})),
        ("labels_shifted_too", collating(lambda b, rows, p, s: {"labels": left(b["labels"])})),
        (
            "last_label_lost",
            collating(lambda b, rows, p, s: {"labels": fill([{"x": r["labels"][:-1]} for r in rows], "x", -100)}),
        ),
        (
            "start_in_labels",
            collating(lambda b, rows, p, s: {"labels": fill([{"x": [s, *r["labels"]]} for r in rows], "x", -100)}),
        ),
        ("not_shifted", collating(lambda b, rows, p, s: {"decoder_input_ids": fill(rows, "labels", p)})),
        (
            "shifted_left",
            collating(
                lambda b, rows, p, s: {"decoder_input_ids": left(b["labels"]).masked_fill(left(b["labels"]) < 0, p)}
            ),
        ),
        (
            "hidden_are_read",
            collating(
                lambda b, rows, p, s: {
                    "decoder_input_ids": torch.nn.functional.pad(b["labels"][:, :-1], (1, 0), value=s)
                }
            ),
        ),
        (
            "starts_with_padding",
            collating(
                lambda b, rows, p, s: {
                    "decoder_input_ids": torch.nn.functional.pad(fill(rows, "labels", p)[:, :-1], (1, 0), value=p)
                }
            ),
        ),
        (
            "rolled",
            collating(lambda b, rows, p, s: {"decoder_input_ids": torch.roll(fill(rows, "labels", p), 1, dims=1)}),
        ),
        (
            "one_too_long",
            collating(
                lambda b, rows, p, s: {"decoder_input_ids": fill([{"x": [s, *r["labels"]]} for r in rows], "x", p)}
            ),
        ),
        ("wrong_items", collate_three),
        ("wrong_kind", collate_lists),
        ("changed_input", collate_appending),
    ],
    "careful_batch": [
        ("ends_not_read", batch_of_the_colleague),
        ("ends_not_read", batch(lambda b, rows, e: {"attention_mask": (b["input_ids"] != e).long()})),
        (
            "one_end_read",
            batch(
                lambda b, rows, e: {
                    "attention_mask": ((b["input_ids"] != e) | ((b["input_ids"] == e).cumsum(dim=1) == 1)).long()
                }
            ),
        ),
        ("padding_is_read", batch(lambda b, rows, e: {"attention_mask": torch.ones_like(b["input_ids"])})),
        ("mask_upside_down", batch(lambda b, rows, e: {"attention_mask": 1 - b["attention_mask"]})),
        ("mask_is_truth", batch(lambda b, rows, e: {"attention_mask": b["attention_mask"].bool()})),
        (
            "padded_with_zero",
            batch(lambda b, rows, e: {"input_ids": b["input_ids"].masked_fill(b["attention_mask"] == 0, 0)}),
        ),
        (
            "padded_with_another",
            batch(
                lambda b, rows, e: {"input_ids": b["input_ids"].masked_fill(b["attention_mask"] == 0, 0 if e else 1)}
            ),
        ),
        ("inputs_hidden", batch(lambda b, rows, e: {"input_ids": b["labels"]})),
        ("padded_left", batch_padded_left),
        ("ends_hidden", batch(lambda b, rows, e: {"labels": by_id(b, e)})),
        ("ends_hidden_and_shifted", batch(lambda b, rows, e: {"labels": left(by_id(b, e))})),
        ("shifted_twice", batch(lambda b, rows, e: {"labels": left(b["labels"])})),
        (
            "shifted_back",
            batch(lambda b, rows, e: {"labels": torch.nn.functional.pad(b["labels"], (1, 0), value=-100)[:, :-1]}),
        ),
        ("padding_is_learned", batch(lambda b, rows, e: {"labels": b["input_ids"].clone()})),
        ("padding_learned_and_shifted", batch(lambda b, rows, e: {"labels": left(b["input_ids"])})),
        ("only_one_end", batch_up_to_the_first_end),
        ("an_end_more", batch_end_after_each),
        (
            "last_token_lost",
            batch(
                lambda b, rows, e: {"labels": b["labels"].masked_fill(left(b["labels"]) == -100, -100)},
            ),
        ),
        ("zero_hidden", batch(lambda b, rows, e: {"labels": b["labels"].clamp(min=0)})),
    ],
    "to_linear": [
        ("nothing_turned", linear(is_turned=lambda name, w: False, cut=last_dim)),
        ("square_forgotten", linear(is_turned=ends("c_attn", "c_fc", "mlp.c_proj"))),
        ("projections_forgotten", linear(is_turned=ends("c_attn", "c_fc"))),
        ("attention_alone", linear(is_turned=ends("c_attn", "attn.c_proj"))),
        ("qkv_not_turned", linear(is_turned=ends("c_fc", "c_proj"), cut=last_dim)),
        ("squares_not_turned", linear(is_turned=ends("c_fc", "mlp.c_proj"), cut=last_dim)),
        ("reshaped", linear(turn=lambda name, w: w.reshape(w.shape[1], w.shape[0]))),
        ("tables_turned", linear(is_turned=lambda name, w: w.ndim == 2)),
        (
            "squares_not_turned",
            linear(
                is_turned=lambda name, w: name.startswith("h.") and w.ndim == 2 and w.shape[0] != w.shape[1],
                late=lambda name, w: w.T if name.endswith((".q.weight", ".k.weight", ".v.weight")) else w,
            ),
        ),
        ("cut_and_left", linear(is_turned=ends("c_fc", "c_proj"))),
        (
            "cut_before_turning",
            linear(is_turned=ends("c_fc", "c_proj"), cut=lambda w: [piece.t() for piece in w.chunk(3)]),
        ),
        ("every_third", linear(cut=lambda w: [w[0::3], w[1::3], w[2::3]])),
        ("another_order", linear(parts="kqv")),
        ("reversed_order", linear(parts="vkq")),
        ("not_cut", linear(parts="")),
        ("biases_lost", linear(is_mask=lambda name: "bias" in name and "ln" not in name)),
        ("prefix_kept", linear(prefix="model.")),
        ("copy_kept", linear(drops_head=lambda head, table: False)),
        ("prefix_and_copy_kept", linear(prefix="model.", drops_head=lambda head, table: False)),
        ("masks_kept", linear(is_mask=lambda name: False)),
        ("one_mask_kept", linear(is_mask=lambda name: name.endswith(".attn.bias"))),
        ("other_mask_kept", linear(is_mask=lambda name: "masked" in name)),
        ("real_bias_lost", linear(is_mask=lambda name: name.endswith(("attn.bias", "masked_bias")))),
        ("head_lost", linear(drops_head=lambda head, table: True)),
        ("other_logits", linear_but_for_17_tokens),
        ("raised", linear_of_one_file),
        ("changed_input", linear_popping),
    ],
    "judge_reader": [
        ("asserts_nothing", judge_by_print),
        ("refuses_everything", judge_wants_the_note),
        ("refuses_by_hand", judge_wants_a_text("no safetensors")),
        ("refuses_of_the_library", judge_wants_a_text("does not end")),
        ("refuses_in_another_order", judging(dict(reversed(FEW.items())), names=list)),
        ("raised", judge_looks_first),
        ("misses_first_alone", judging(without("matrix", "层", "rough", "empty"))),
        ("misses_by_columns", judging(numbers=lambda a, b: True)),
        ("misses_by_columns", judging(without("matrix"))),
        ("misses_always_float32", judging(dtype=False)),
        ("misses_bfloat_as_half", judging(without("rough", half=torch.ones(2).half()))),
        ("misses_in_order_of_names", judging({name.replace("a", "z", 1): w for name, w in without("层").items()})),
        ("misses_scalar_as_row", judging(without("层", 层=torch.tensor([3.5, 2.0], dtype=torch.float64)))),
        ("misses_drops_empty", judging(without("empty"))),
        ("misses_short_header", judging(FEW, note=None)),
        ("misses_metadata_unknown", judging(note=None)),
        ("misses_other_letters", judging(without("层", x=MANY["层"]))),
        ("misses_fills_up", judging(cut=False)),
        ("misses_opens_pickles", judging(pickled=False, looks=False)),
        ("misses_looks_into_pickles", judging(looks=False)),
    ],
}
