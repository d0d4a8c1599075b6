"""Answers to the exercises of chapter 01, right and wrong, as learners write them."""
# mypy: disable-error-code="var-annotated"

import codecs
import collections
import hashlib
import itertools
import math
import random
import unicodedata
import zlib

import numpy as np
import torch

from course_lib.data.splits import split_of

# --- best_pair -------------------------------------------------------------------------------------------------------


def pair_by_sorting(words):
    counts = {}
    for word, count in words.items():
        for i in range(len(word) - 1):
            pair = word[i], word[i + 1]
            counts[pair] = counts.get(pair, 0) + count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0]


def pair_by_min(words):
    counts = collections.Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    most = max(counts.values())
    return min(pair for pair in counts if counts[pair] == most)


def pair_in_numpy(words):
    pairs, weights = [], []
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            pairs.append(pair)
            weights.append(count)
    unique = sorted(set(pairs))
    totals = np.bincount([unique.index(pair) for pair in pairs], weights=weights)
    return list(unique[int(totals.argmax())])


def pair_without_counts(words):
    counts = collections.Counter(pair for word in words for pair in itertools.pairwise(word))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def pair_in_or_not_in_word(words):
    counts = collections.defaultdict(int)
    for word, count in words.items():
        for pair in set(itertools.pairwise(word)):
            counts[pair] += count
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[0]


def pair_in_one_long_row(words):
    row = []
    for word, count in words.items():
        row.extend(list(word) * count)
    counts = collections.Counter((row[i], row[i + 1]) for i in range(len(row) - 1))
    most = max(counts.values())
    return sorted(pair for pair, count in counts.items() if count == most)[0]


def pair_of_characters(words):
    counts = collections.Counter()
    for word, count in words.items():
        text = "".join(word)
        for a, b in itertools.pairwise(text):
            counts[a, b] += count
    return min(counts, key=lambda pair: (-counts[pair], pair))


def pair_by_counter(words):
    counts = collections.Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    return counts.most_common(1)[0][0]


def pair_by_max_of_tuple(words):
    counts = collections.Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    return max((count, pair) for pair, count in counts.items())[1]


def pair_sorted_the_wrong_way(words):
    counts = collections.Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    return sorted(counts, key=lambda pair: (counts[pair], pair))[0]


def pair_joined(words):
    left, right = pair_by_min(words)
    return left + right


def pair_with_its_count(words):
    counts = collections.Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0]


# --- encode_word -----------------------------------------------------------------------------------------------------


def encode_by_rank(word, merges):
    pieces = list(word)
    rank = {pair: i for i, pair in enumerate(merges)}
    while len(pieces) > 1:
        best = min(itertools.pairwise(pieces), key=lambda pair: rank.get(pair, math.inf))
        if best not in rank:
            break
        i = 0
        while i < len(pieces) - 1:
            if (pieces[i], pieces[i + 1]) == best:
                pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
            i += 1
    return pieces


def encode_one_pair_at_a_time(word, merges):
    pieces = list(word)
    for left, right in merges:
        i = 0
        while i + 1 < len(pieces):
            if pieces[i] == left and pieces[i + 1] == right:
                pieces[i] = left + right
                del pieces[i + 1]
            i += 1
    return pieces


def encode_with_a_stack(word, merges):
    pieces = tuple(word)
    for left, right in merges:
        out, fresh = [], False
        for piece in pieces:
            if out and not fresh and out[-1] == left and piece == right:
                out[-1], fresh = left + right, True
            else:
                out.append(piece)
                fresh = False
        pieces = tuple(out)
    return pieces


def encode_overlapping(word, merges):
    pieces = list(word)
    for left, right in merges:
        out = []
        for i in range(len(pieces)):
            if pieces[i] == left and pieces[i + 1 : i + 2] == [right]:
                out.append(left + right)
            elif i > 0 and pieces[i] == right and pieces[i - 1] == left:
                continue
            else:
                out.append(pieces[i])
        pieces = out
    return pieces


def encode_first_occurrence(word, merges):
    pieces = list(word)
    for left, right in merges:
        for i in range(len(pieces) - 1):
            if pieces[i] == left and pieces[i + 1] == right:
                pieces = [*pieces[:i], left + right, *pieces[i + 2 :]]
                break
    return pieces


def encode_with_three_steps(word, merges):
    pieces = list(word)
    for left, right in merges:
        out, i = [], 0
        while i < len(pieces):
            if pieces[i : i + 2] == [left, right]:
                out.append(left + right)
                i += 2
            else:
                out.append(pieces[i])
            i += 1
        pieces = out
    return pieces


def encode_keeping_the_second(word, merges):
    pieces = list(word)
    for left, right in merges:
        out = []
        for i, piece in enumerate(pieces):
            if pieces[i : i + 2] == [left, right]:
                out.append(left + right)
            else:
                out.append(piece)
        pieces = out
    return pieces


def encode_losing_the_last(word, merges):
    pieces = list(word)
    for left, right in merges:
        out, i = [], 0
        while i + 1 < len(pieces):
            if pieces[i] == left and pieces[i + 1] == right:
                out.append(left + right)
                i += 1
            else:
                out.append(pieces[i])
            i += 1
        pieces = out
    return pieces


def encode_from_the_end(word, merges):
    pieces = list(word)
    for left, right in merges:
        i = len(pieces) - 2
        while i >= 0:
            if pieces[i] == left and pieces[i + 1] == right:
                pieces[i : i + 2] = [left + right]
                i -= 1
            i -= 1
    return pieces


def encode_backwards(word, merges):
    return encode_one_pair_at_a_time(word, reversed(merges))


def encode_longest_known(word, merges):
    vocabulary = {a + b for a, b in merges} | set(word)
    pieces = []
    while word:
        for size in range(len(word), 0, -1):
            if word[:size] in vocabulary:
                pieces.append(word[:size])
                word = word[size:]
                break
    return pieces


def encode_whatever_comes_first(word, merges):
    pieces = list(word)
    changed = True
    while changed:
        changed = False
        for i in range(len(pieces) - 1):
            if (pieces[i], pieces[i + 1]) in merges:
                pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
                changed = True
                break
    return pieces


def encode_in_one_walk(word, merges):
    pieces, out, i = list(word), [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) in merges:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def encode_by_replace(word, merges):
    text = " ".join(word)
    for left, right in merges:
        text = text.replace(f"{left} {right}", left + right)
    return text.split()


def encode_until_one_is_missing(word, merges):
    pieces = list(word)
    for left, right in merges:
        new = encode_one_pair_at_a_time_once(pieces, left, right)
        if new == pieces:
            break
        pieces = new
    return pieces


def encode_one_pair_at_a_time_once(pieces, left, right):
    pieces, i = list(pieces), 0
    while i + 1 < len(pieces):
        if (pieces[i], pieces[i + 1]) == (left, right):
            pieces[i : i + 2] = [left + right]
        i += 1
    return pieces


def encode_and_return_too_soon(word, merges):
    pieces = list(word)
    for left, right in merges:
        pieces = encode_one_pair_at_a_time_once(pieces, left, right)
        return pieces  # noqa: RET504
    return pieces


def encode_a_copy(word, merges):
    pieces = list(word)
    for left, right in merges:
        encode_one_pair_at_a_time_once(pieces, left, right)
    return pieces


def encode_emptying_the_list(word, merges):
    pieces = list(word)
    while merges:
        left, right = merges.pop(0)
        pieces = encode_one_pair_at_a_time_once(pieces, left, right)
    return pieces


# --- bits_per_byte ---------------------------------------------------------------------------------------------------


def bits_with_a_loop(losses, text):
    bits = 0.0
    for loss in losses:
        bits += loss.item() / math.log(2)
    return bits / len(bytes(text, "utf-8"))


def bits_from_the_mean(losses, text):
    bytes_per_token = len(text.encode("utf-8")) / len(losses)
    return losses.mean() / torch.log(torch.tensor(2.0)) / bytes_per_token


def bits_from_probabilities(losses, text):
    probabilities = np.exp(-losses.double().numpy())
    return -np.log2(probabilities).sum() / len(text.encode())


# --- round_trips -----------------------------------------------------------------------------------------------------

TEXTS = [
    "Rose found a Kite, and it's HERS.",
    "罗丝 naïve 🪁",
    " first and last ",
    "two  spaces\n\tand a tab",
    "½ ﬁ e\u0301",
    "a <|end|> b",
    "long " * 600,
]


def comes_back(tokenizer, texts):
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_all(tokenizer):
    comes_back(tokenizer, TEXTS)


def test_one_text(tokenizer):
    text = "\n".join([" Rose", *TEXTS])
    return tokenizer.decode(tokenizer.encode(text)) == text and tokenizer.decode(tokenizer.encode("end ")) == "end "


def test_by_equal_lists(tokenizer):
    found = [tokenizer.decode(torch.tensor(tokenizer.encode(text))) for text in TEXTS]
    assert found == TEXTS, "a text did not come back"


def test_random_characters(tokenizer):
    picker = random.Random(0)
    for _ in range(10):
        characters = [
            chr(picker.choice([*range(32, 400), *range(0x4E00, 0x4F00), *range(0x1FA80, 0x1FAB0)])) for _ in range(700)
        ]
        comes_back(tokenizer, ["".join(characters)])
    comes_back(tokenizer, [" a", "a ", "a  b", "½", "<|end|>"])


def without(number, *instead):
    texts = [text for i, text in enumerate(TEXTS) if i != number] + list(instead)
    return lambda tokenizer: comes_back(tokenizer, texts)


def test_nothing(tokenizer):
    for text in TEXTS:
        tokenizer.decode(tokenizer.encode(text)) == text  # noqa: B015


def test_ids_are_bytes(tokenizer):
    comes_back(tokenizer, TEXTS)
    assert tokenizer.encode("kite") == list(b"kite")


def test_ids_below_256(tokenizer):
    comes_back(tokenizer, ["plain"])
    assert max(tokenizer.encode("Rose found 风筝")) < 256


def test_fewer_ids_than_bytes(tokenizer):
    comes_back(tokenizer, TEXTS)
    assert len(tokenizer.encode(" kite 风筝")) < len(" kite 风筝".encode())


def test_ids_are_the_text(tokenizer):
    assert tokenizer.encode("Rose") == "Rose"


def test_stripped(tokenizer):
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)).strip() == text.strip()


def test_normal_form(tokenizer):
    for text in TEXTS:
        there_and_back = tokenizer.decode(tokenizer.encode(text))
        assert unicodedata.normalize("NFKC", there_and_back) == unicodedata.normalize("NFKC", text)


# --- table_gradient --------------------------------------------------------------------------------------------------


def table_by_autograd(ids, upstream, rows):
    table = torch.zeros(rows, upstream.shape[1], requires_grad=True)
    table[ids].backward(upstream)
    return table.grad


def table_by_one_hot(ids, upstream, rows):
    return torch.nn.functional.one_hot(ids, rows).double().T @ upstream.double()


def table_by_loop(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.size(1))
    for t in range(len(ids)):
        gradient[ids[t]] += upstream[t]
    return gradient


def table_in_numpy(ids, upstream, rows):
    gradient = np.zeros((rows, upstream.shape[1]), dtype=np.float32)
    np.add.at(gradient, ids.numpy(), upstream.numpy())
    return torch.from_numpy(gradient)


def table_by_index(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.shape[1])
    gradient[ids] += upstream
    return gradient


def table_set_once(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.shape[1])
    for i, row in zip(ids, upstream, strict=True):
        if not gradient[i].any():
            gradient[i] = row
    return gradient


def table_of_means(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.shape[1])
    for i in range(rows):
        if (ids == i).any():
            gradient[i] = upstream[ids == i].mean(0)
    return gradient


def table_of_all_means(ids, upstream, rows):
    return torch.stack([upstream[ids == i].mean(0) for i in range(rows)])


def table_of_used_rows(ids, upstream, rows):
    return torch.stack([upstream[ids == i].sum(0) for i in sorted(set(ids.tolist()))])


def table_of_the_batch_mean(ids, upstream, rows):
    return table_by_loop(ids, upstream, rows) / ids.shape[0]


def table_of_counts(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.shape[1])
    for i in ids:
        gradient[i] += 1
    return gradient


def table_with_the_whole_sum(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.shape[1])
    gradient[ids] = upstream.sum(0)
    return gradient


def table_too_small(ids, upstream, rows):
    gradient = torch.zeros(ids.max() + 1, upstream.shape[1])
    return gradient.index_add_(0, ids, upstream)


def table_turned(ids, upstream, rows):
    return upstream.T @ torch.nn.functional.one_hot(ids, rows).float()


def table_times_counts(ids, upstream, rows):
    one_hot = torch.nn.functional.one_hot(ids, rows).float()
    return one_hot.T @ one_hot @ one_hot.T @ upstream


def table_in_place(ids, upstream, rows):
    for t in range(len(ids) - 1, -1, -1):
        earlier = (ids[:t] == ids[t]).nonzero()
        if len(earlier):
            upstream[earlier[-1, 0]] += upstream[t]
    gradient = torch.zeros(rows, upstream.shape[1])
    for t in range(len(ids) - 1, -1, -1):
        gradient[ids[t]] = upstream[t]
    return gradient


# --- shifted ---------------------------------------------------------------------------------------------------------


def shifted_by_unfold(ids, length):
    return ids[:-1].unfold(0, length, length), ids[1:].unfold(0, length, length)


def shifted_by_loop(ids, length):
    inputs, targets = [], []
    for start in range(0, len(ids) - length, length):
        inputs.append(ids[start : start + length])
        targets.append(ids[start + 1 : start + length + 1])
    return [torch.stack(inputs), torch.stack(targets)]


def shifted_by_index(ids, length):
    windows = (len(ids) - 1) // length
    places = torch.arange(windows * length).view(windows, length)
    return ids[places], ids[places + 1]


def shifted_in_numpy(ids, length):
    values = np.array(ids.tolist())
    used = (len(values) - 1) // length * length
    pair = values[:used].reshape(-1, length), values[1 : used + 1].reshape(-1, length)
    return tuple(torch.from_numpy(array.copy()) for array in pair)


def shifted_not_at_all(ids, length):
    inputs = ids[:-1].unfold(0, length, length)
    return inputs, inputs.clone()


def shifted_by_two(ids, length):
    return ids[:-2].unfold(0, length, length), ids[2:].unfold(0, length, length)


def shifted_the_other_way(ids, length):
    return ids[1:].unfold(0, length, length), ids[:-1].unfold(0, length, length)


def shifted_row_by_row(ids, length):
    inputs = ids[: len(ids) // length * length].view(-1, length)
    targets = torch.cat([inputs[:, 1:], inputs[:, :1]], dim=1)
    return inputs, targets


def shifted_by_roll(ids, length):
    n = len(ids) // length
    return ids[: n * length].view(n, length), torch.roll(ids, -1)[: n * length].view(n, length)


def shifted_by_roll_of_what_fits(ids, length):
    n = len(ids) // length
    ids = ids[: n * length]
    return ids.view(n, length), torch.roll(ids, -1).view(n, length)


def shifted_with_padding(ids, length):
    inputs, targets = list(ids[:-1].split(length)), list(ids[1:].split(length))
    for rows in (inputs, targets):
        rows[-1] = torch.nn.functional.pad(rows[-1], (0, length - len(rows[-1])))
    return torch.stack(inputs), torch.stack(targets)


def shifted_after_padding(ids, length):
    while (len(ids) - 1) % length:
        ids = torch.cat([ids, torch.tensor([0])])
    return shifted_by_unfold(ids, length)


def shifted_and_ignored(ids, length):
    inputs, targets = shifted_with_padding(ids, length)
    left = (len(ids) - 1) % length
    if left:
        targets[-1, left:] = -100
    return inputs, targets


def shifted_everywhere(ids, length):
    starts = range(len(ids) - length)
    inputs = torch.stack([ids[i : i + length] for i in starts])
    return inputs, torch.stack([ids[i + 1 : i + 1 + length] for i in starts])


def shifted_inside(ids, length):
    rows = ids.unfold(0, length, length)
    return rows[:, :-1], rows[:, 1:]


def shifted_in_blocks(ids, length):
    blocks = ids.unfold(0, length + 1, length + 1)
    return blocks[:, :length], blocks[:, 1:]


def shifted_one_too_few(ids, length):
    inputs, targets = [], []
    for start in range(0, len(ids) - 2 * length, length):
        inputs.append(ids[start : start + length])
        targets.append(ids[start + 1 : start + length + 1])
    return torch.stack(inputs), torch.stack(targets)


def shifted_in_columns(ids, length):
    inputs, targets = shifted_by_unfold(ids, length)
    return inputs.T, targets.T


# --- padded_rows -----------------------------------------------------------------------------------------------------


def padded_by_length(texts, end):
    width = max(len(text) for text in texts) + 1
    ids, targets = [], []
    for text in texts:
        ids.append(text + [end] * (width - len(text)))
        targets.append([*text, end][1:] + [-100] * (width - len(text)))
        if not text:
            targets[-1] = [-100] * width
    return torch.tensor(ids), torch.tensor(targets)


def padded_by_pad_sequence(texts, end):
    rows = [torch.tensor([*text, end]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end)
    targets = torch.nn.utils.rnn.pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-100)
    return ids, torch.nn.functional.pad(targets, (0, 1), value=-100)


def padded_by_mask(texts, end):
    lengths = torch.tensor([len(text) for text in texts])
    width = int(lengths.max()) + 1
    ids = torch.tensor([[*text, *[end] * (width - len(text))] for text in texts])
    targets = ids.roll(-1, dims=1)
    targets[torch.arange(width) >= lengths[:, None]] = -100
    return ids, targets


def padded_by_first_end(texts, end):
    width = max(map(len, texts)) + 1
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.cat([ids[:, 1:], torch.full((len(texts), 1), -100)], dim=1)
    targets[ids == end] = -100  # what follows an end is padding
    return ids, targets


def padded_as_it_was(texts, end):
    width = 1 + max(map(len, texts))
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:]
    targets[targets == end] = -100
    return ids, targets


def padded_without_ignoring(texts, end):
    width = 1 + max(map(len, texts))
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:]
    return ids, targets


def padded_with_another_id(texts, end, filling=0):
    rows = [torch.tensor([*text, end]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filling)
    return ids, padded_by_pad_sequence(texts, end)[1]


def padded_with_minus_100(texts, end):
    ids, targets = padded_with_another_id(texts, end, filling=-100)
    return ids, targets


def padded_with_minus_1(texts, end):
    return padded_with_another_id(texts, end, filling=-1)


def padded_one_too_many(texts, end):
    width = max(map(len, texts)) + 1
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.cat([ids[:, 1:], torch.full((len(texts), 1), -100)], dim=1)
    for b, text in enumerate(texts):
        targets[b, len(text) + 1 :] = -100
    return ids, targets


def padded_by_rolling(texts, end):
    lengths = torch.tensor([len(text) for text in texts])
    width = int(lengths.max()) + 1
    ids = torch.tensor([[*text, *[end] * (width - len(text))] for text in texts])
    targets = ids.roll(-1, dims=1)
    targets[:, :-1][torch.arange(width - 1) >= lengths[:, None]] = -100
    return ids, targets


def padded_all_ends(texts, end):
    width = max(map(len, texts)) + 1
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    return ids, torch.cat([ids[:, 1:], torch.full((len(texts), 1), end)], dim=1)


def padded_for_the_longest(texts, end):
    width = max(map(len, texts)) + 1
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.cat([ids[:, 1:], torch.full((len(texts), 1), -100)], dim=1)
    targets[:, :-2][targets[:, :-2] == end] = -100
    for b, text in enumerate(texts):
        if len(text) < width - 1:
            targets[b, -2] = -100
    return ids, targets


def padded_but_not_shifted(texts, end):
    ids, _ = padded_by_length(texts, end)
    targets = ids.clone()
    for b, text in enumerate(texts):
        targets[b, len(text) + 1 :] = -100
    return ids, targets


def padded_without_room_for_the_end(texts, end):
    width = max(map(len, texts))
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.cat([ids[:, 1:], torch.full((len(texts), 1), -100)], dim=1)
    targets[targets == end] = -100
    return ids, targets


def padded_with_an_end_where_there_is_room(texts, end):
    ids, targets = padded_by_length(texts, end)
    longest = max(range(len(texts)), key=lambda b: len(texts[b]))
    targets[longest, -2] = -100
    return ids, targets


def padded_and_appended(texts, end):
    for text in texts:
        text.append(end)
    width = max(map(len, texts))
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])
    targets = torch.full_like(ids, -100)
    for b, text in enumerate(texts):
        targets[b, : len(text) - 1] = torch.tensor(text[1:])
    return ids, targets


# --- side_of ---------------------------------------------------------------------------------------------------------


def side_by_sha256(text, share):
    number = int(hashlib.sha256(text.encode()).hexdigest(), 16)
    return "test" if number < share * 2**256 else "train"


def side_by_md5_per_mille(text, share):
    return "test" if int(hashlib.md5(text.encode("utf-8")).hexdigest(), 16) % 1000 < share * 1000 else "train"


def side_by_crc(text, share):
    return "test" if zlib.crc32(codecs.encode(text)) / 2**32 < share else "train"


def side_by_seeded_random(text, share):
    return "test" if random.Random(text).random() < share else "train"


def side_by_library(text, share):
    return split_of(text, validation=0, test=share)


def side_by_salted_hash(text, share):
    return "test" if hash(text) % 100 < share * 100 else "train"


def side_by_scaled_hash(text, share):
    return "train" if (hash(text) + 2**63) / 2**64 >= share else "test"


def side_by_seeded_hash(text, share):
    random.seed(hash(text))
    return "test" if random.random() < share else "train"


def side_by_dunder_hash(text, share):
    return "test" if text.__hash__() % 1000 < 1000 * share else "train"


def side_by_random(text, share):
    return "test" if random.random() < share else "train"


def side_by_torch(text, share):
    return "test" if torch.rand(()) < share else "train"


CALLS = itertools.count()


def side_in_turn(text, share):
    return "test" if next(CALLS) % 10 < 10 * share else "train"


def side_by_address(text, share):
    return "test" if id(text) // 16 % 100 < share * 100 else "train"


def side_by_length(text, share):
    return "test" if len(text) % 100 < share * 100 else "train"


def side_by_sum(text, share):
    return "test" if sum(text.encode()) % 100 < share * 100 else "train"


def side_by_first_letters(text, share):
    number = int.from_bytes(hashlib.sha256(text[:12].encode()).digest()[:4], "big")
    return "test" if number / 2**32 < share else "train"


def side_by_last_letters(text, share):
    number = int.from_bytes(hashlib.sha256(text[-10:].encode()).digest()[:4], "big")
    return "test" if number / 2**32 < share else "train"


def side_by_ascii(text, share):
    number = int(hashlib.sha1(text.encode("ascii", errors="ignore")).hexdigest(), 16)
    return "test" if number % 10_000 < share * 10_000 else "train"


def side_inverted(text, share):
    return "train" if side_by_sha256(text, share) == "test" else "test"


def side_of_one_in_n(text, share):
    n = round(1 / share)
    return "test" if int(hashlib.md5(text.encode()).hexdigest(), 16) % n == 0 else "train"


def side_in_tenths(text, share):
    return "test" if int(hashlib.md5(text.encode()).hexdigest(), 16) % 10 < share * 10 else "train"


def side_up_to(text, share):
    return "test" if int(hashlib.md5(text.encode()).hexdigest(), 16) % 100 <= share * 100 else "train"


def side_seeded_alike(text, share):
    random.seed(0)
    return "test" if random.random() < share else "train"


def side_always_a_tenth(text, share):
    return "test" if hashlib.md5(text.encode()).digest()[0] < 25 else "train"


def side_of_a_small_number(text, share):
    first = hashlib.md5(text.encode()).digest()[0]
    return "test" if first / 1000 < share else "train"


def side_as_truth(text, share):
    return side_by_sha256(text, share) == "test"


def side_in_capitals(text, share):
    return side_by_sha256(text, share).capitalize()


def side_remembered(text, share, sides={}):  # noqa: B006
    return sides.setdefault(text, "test" if random.random() < share else "train")


RIGHT = {
    "best_pair": [("sorted", pair_by_sorting), ("min", pair_by_min), ("numpy, a list", pair_in_numpy)],
    "encode_word": [
        ("by rank", encode_by_rank),
        ("in place", encode_one_pair_at_a_time),
        ("a stack, a tuple", encode_with_a_stack),
    ],
    "bits_per_byte": [
        ("a loop", bits_with_a_loop),
        ("from the mean, a tensor", bits_from_the_mean),
        ("from probabilities, numpy", bits_from_probabilities),
    ],
    "round_trips": [
        ("many texts", test_all),
        ("one text", test_one_text),
        ("tensors of ids", test_by_equal_lists),
        ("random characters", test_random_characters),
    ],
    "table_gradient": [
        ("autograd", table_by_autograd),
        ("one-hot, float64", table_by_one_hot),
        ("a loop", table_by_loop),
        ("numpy", table_in_numpy),
    ],
    "shifted": [
        ("unfold", shifted_by_unfold),
        ("a loop", shifted_by_loop),
        ("indices", shifted_by_index),
        ("numpy", shifted_in_numpy),
    ],
    "padded_rows": [
        ("by length", padded_by_length),
        ("pad_sequence", padded_by_pad_sequence),
        ("a mask", padded_by_mask),
        ("the end itself has no target", padded_by_first_end),
    ],
    "side_of": [
        ("sha256", side_by_sha256),
        ("md5, per mille", side_by_md5_per_mille),
        ("crc32", side_by_crc),
        ("a generator seeded by the text", side_by_seeded_random),
        ("the library", side_by_library),
    ],
}

WRONG = {
    "best_pair": [
        ("counts_ignored", pair_without_counts),
        ("once_per_word", pair_in_or_not_in_word),
        ("across_words", pair_in_one_long_row),
        ("letters_not_pieces", pair_of_characters),
        ("first_seen", pair_by_counter),
        ("last_in_the_alphabet", pair_by_max_of_tuple),
        ("least_frequent", pair_sorted_the_wrong_way),
        ("joined", pair_joined),
        ("pair_and_count", pair_with_its_count),
    ],
    "encode_word": [
        ("overlaps", encode_overlapping),
        ("first_only", encode_first_occurrence),
        ("skips_one", encode_with_three_steps),
        ("second_stays", encode_keeping_the_second),
        ("last_lost", encode_losing_the_last),
        ("from_the_right", encode_from_the_end),
        ("reversed_order", encode_backwards),
        ("longest_first", encode_longest_known),
        ("leftmost_first", encode_whatever_comes_first),
        ("one_walk", encode_in_one_walk),
        ("inside_pieces", encode_by_replace),
        ("stops_early", encode_until_one_is_missing),
        ("only_the_first_merge", encode_and_return_too_soon),
        ("never_merged", encode_a_copy),
        ("changed_input", encode_emptying_the_list),
        ("wrong_kind", lambda word, merges: " ".join(encode_by_rank(word, merges))),
    ],
    "bits_per_byte": [
        ("nats", lambda losses, text: losses.sum() / len(text.encode())),
        ("times_log_2", lambda losses, text: losses.sum() * math.log(2) / len(text.encode())),
        ("per_character", lambda losses, text: (losses.sum() / math.log(2)).item() / len(text)),
        ("per_token", lambda losses, text: (losses / math.log(2)).mean()),
        ("nats_per_token", lambda losses, text: losses.mean().item()),
        ("mean_over_bytes", lambda losses, text: losses.mean() / math.log(2) / len(text.encode())),
        ("whole_text", lambda losses, text: sum(losses.tolist()) / math.log(2)),
        ("log_10", lambda losses, text: losses.sum() / math.log10(2) / len(text.encode())),
        ("upside_down", lambda losses, text: len(text.encode()) / (losses.sum() / math.log(2))),
        ("per_bit", lambda losses, text: losses.sum() / math.log(2) / (8 * len(text.encode()))),
        ("log_of_losses", lambda losses, text: torch.log2(losses).sum() / len(text.encode())),
        ("wrong_kind", lambda losses, text: losses / math.log(2) / len(text.encode())),
    ],
    "round_trips": [
        ("asserts_nothing", test_nothing),
        ("refuses_everything", test_ids_are_the_text),
        ("refuses_byte_pairs", test_ids_are_bytes),
        ("refuses_code_points", test_ids_below_256),
        ("refuses_bytes", test_fewer_ids_than_bytes),
        ("misses_lower_case", without(0, "rose, found a kite.")),
        ("misses_joins_with_spaces", lambda tokenizer: comes_back(tokenizer, ["Rose", "Rose found"])),
        ("misses_no_emoji", without(1, "plain")),
        ("misses_token_by_token", lambda tokenizer: comes_back(tokenizer, ["Rose found a kite."])),
        ("misses_drops_unknown", lambda tokenizer: comes_back(tokenizer, ["Zoë found a naïve kite."])),
        ("misses_no_emoji", without(1, "naïve 找")),
        ("misses_strips_the_end", test_stripped),
        ("misses_loses_the_first_space", without(2, "last ")),
        ("misses_one_space_for_many", without(3)),
        ("misses_normalises", without(4)),
        ("misses_normalises", test_normal_form),
        ("misses_eats_markers", without(5)),
        ("misses_cuts_long_texts", without(6, "this one is not so long " * 10, "last ")),
    ],
    "table_gradient": [
        ("last_wins", table_by_index),
        ("first_wins", table_set_once),
        ("averaged", table_of_means),
        ("averaged_nan", table_of_all_means),
        ("divided_by_all", table_of_the_batch_mean),
        ("times_count", table_times_counts),
        ("same_for_all", table_with_the_whole_sum),
        ("counts_only", table_of_counts),
        ("only_rows_used", table_of_used_rows),
        ("as_many_rows_as_seen", table_too_small),
        ("a_row_for_each_token", lambda ids, upstream, rows: upstream.clone()),
        ("looked_up_again", lambda ids, upstream, rows: table_by_loop(ids, upstream, rows)[ids]),
        ("turned", table_turned),
        ("minus", lambda ids, upstream, rows: table_by_loop(ids, -upstream, rows)),
        ("changed_input", table_in_place),
    ],
    "shifted": [
        ("same_twice", shifted_not_at_all),
        ("by_two", shifted_by_two),
        ("backwards", shifted_the_other_way),
        ("rolled_in_windows", shifted_row_by_row),
        ("rolled", shifted_by_roll),
        ("rolled_after_cutting", shifted_by_roll_of_what_fits),
        ("filled_up", shifted_after_padding),
        ("filled_up_apart", shifted_with_padding),
        ("filled_up_and_ignored", shifted_and_ignored),
        ("overlapping", shifted_everywhere),
        ("too_short", shifted_inside),
        ("long_steps", shifted_in_blocks),
        ("one_window_fewer", shifted_one_too_few),
        ("turned", shifted_in_columns),
        (
            "down_the_columns",
            lambda ids, length: tuple(part.flatten().reshape(length, -1).T for part in shifted_by_unfold(ids, length)),
        ),
    ],
    "padded_rows": [
        ("still_there", padded_as_it_was),
        ("everything_counts", padded_without_ignoring),
        ("last_column_too", padded_all_ends),
        ("one_too_many", padded_one_too_many),
        ("wraps_around", padded_by_rolling),
        ("only_the_longest", padded_for_the_longest),
        ("all_but_the_longest", padded_with_an_end_where_there_is_room),
        ("not_shifted", padded_but_not_shifted),
        ("end_marker_lost", padded_without_room_for_the_end),
        ("minus_100_in_ids", padded_with_minus_100),
        ("minus_1_in_ids", padded_with_minus_1),
        ("zero_in_ids", padded_with_another_id),
        ("changed_input", padded_and_appended),
    ],
    "side_of": [
        ("salted", side_by_salted_hash),
        ("salted", side_by_scaled_hash),
        ("salted", side_by_seeded_hash),
        ("salted", side_by_dunder_hash),
        ("changes_its_mind", side_by_random),
        ("changes_its_mind", side_by_torch),
        ("changes_its_mind", side_in_turn),
        ("by_address", side_by_address),
        ("by_length", side_by_length),
        ("by_letters", side_by_sum),
        ("by_beginning", side_by_first_letters),
        ("by_end", side_by_last_letters),
        ("ascii_only", side_by_ascii),
        ("share_inverted", side_inverted),
        ("one_in_n", side_of_one_in_n),
        ("too_coarse", side_in_tenths),
        ("test_at_share_zero", side_up_to),
        ("one_side_only", side_seeded_alike),
        ("share_ignored", side_always_a_tenth),
        ("wrong_share", side_of_a_small_number),
        ("truth_for_a_side", side_as_truth),
        ("another_word", side_in_capitals),
        ("returned_none", lambda text, share: None),
        ("share_ignored", side_remembered),
    ],
}
