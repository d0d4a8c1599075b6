"""Our tokenizer as one of Hugging Face's: the same ids, the same text back, on their disk too."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from course_lib.data.tokenizers import GPT2_PATTERN, GPT4_PATTERN, BytePairTokenizer, CharacterTokenizer
from course_lib.models.pretrained.tokenizers import to_hugging_face
from tests.layers.helpers import unchecked

TRAINED_ON = (
    "Rose gave Ann a red rose. 萝丝给安一朵红玫瑰。 It's 2024, isn't it?  \n\n\tdef f(x): return x ** 2  # 🌹🌹\r\n" * 3
)
TEXTS = [
    "",
    " ",
    "Rose gave Ann a rose.",
    "IT'S  it's 12345 1 \n\n \t\r\n x",
    "萝丝给玫瑰🌹，ok？",
    "naïve café \u00ad\u0000\u0301 ａ",
    "a<|end|><|end|>b <|en <|endless|>c<|pad|>",
    "def f(x):\n    return x\n",
    "0202 02024 aaaa",  # words end within what could be merged
]
TOKENIZERS = {
    "GPT-4's words": BytePairTokenizer.train(TRAINED_ON, 300, special_tokens=["<|end|>", "<|pad|>", "<|endless|>"]),
    "GPT-2's words": BytePairTokenizer.train(TRAINED_ON, 290, pattern=GPT2_PATTERN, special_tokens=["<|end|>"]),
    "letters alone, the rest left out": BytePairTokenizer.train(TRAINED_ON, 280, pattern=r"\p{L}+"),
    "a pair that the pattern leaves out": BytePairTokenizer([(ord("a"), ord("a"))], pattern=r"\p{N}+"),
    "bytes": BytePairTokenizer([]),
}
THEIRS = {name: to_hugging_face(tokenizer) for name, tokenizer in TOKENIZERS.items()}
each = pytest.mark.parametrize("name", TOKENIZERS)


def agrees(name: str, text: str, theirs: Any) -> None:
    ids = TOKENIZERS[name].encode(text, allow_special=True)
    assert theirs(text).input_ids == ids
    assert theirs.decode(ids) == text == TOKENIZERS[name].decode(ids)


@each
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_equal_and_the_text_comes_back(name, text):
    agrees(name, text, THEIRS[name])


@each
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(st.characters(codec="utf-8", max_codepoint=0x1F9FF), max_size=30))
def test_ids_are_equal_for_any_text(name, text):
    text = "".join(c for c in text if not _younger(c))
    agrees(name, text, THEIRS[name])


def _younger(character: str) -> bool:
    """Two programs with two editions of Unicode disagree on what is a letter, for the youngest of them."""
    import unicodedata

    return unicodedata.category(character) == "Cn"


@each
def test_it_is_the_same_from_their_disk(tmp_path, name):
    THEIRS[name].save_pretrained(tmp_path)
    for kind in (AutoTokenizer, PreTrainedTokenizerFast):
        again = kind.from_pretrained(tmp_path)
        assert len(again) == TOKENIZERS[name].vocab_size
        for text in TEXTS:
            agrees(name, text, again)


def test_special_tokens_have_roles():
    theirs = to_hugging_face(TOKENIZERS["GPT-4's words"], eos_token="<|end|>", pad_token="<|pad|>")
    own = TOKENIZERS["GPT-4's words"].special_ids
    assert (theirs.eos_token_id, theirs.pad_token_id) == (own["<|end|>"], own["<|pad|>"])
    assert theirs.bos_token is None
    batch = theirs(["Rose", "Ann gave"], padding=True)
    length = max(map(sum, batch.attention_mask))
    for text, ids, mask in zip(["Rose", "Ann gave"], batch.input_ids, batch.attention_mask, strict=True):
        real = TOKENIZERS["GPT-4's words"].encode(text)
        assert ids == real + [own["<|pad|>"]] * (length - len(real))
        assert mask == [1] * len(real) + [0] * (length - len(real))
    assert theirs.decode(theirs("Rose<|end|><|endless|>").input_ids, skip_special_tokens=True) == "Rose"


@pytest.mark.parametrize(
    ("tokenizer", "roles", "error", "message"),
    [
        (
            TOKENIZERS["GPT-2's words"],
            {"pad_token": "<|pad|>"},
            ValueError,
            "pad_token is '<|pad|>': give eos_token, pad_token, ..., one of the special tokens: '<|end|>'",
        ),
        (TOKENIZERS["bytes"], {"eos_token": "a"}, ValueError, "one of the special tokens: none"),
        (TOKENIZERS["GPT-2's words"], {"end": "<|end|>"}, ValueError, "end is '<|end|>': give eos_token, pad_token"),
        (
            CharacterTokenizer("abc"),
            {},
            TypeError,
            "tokenizer must be a BytePairTokenizer, not CharacterTokenizer(vocab_size=3",
        ),
        (
            BytePairTokenizer([], special_tokens=["a"]),
            {},
            ValueError,
            "tokenizer has 'a' as a special token and as an ordinary one: there it has one id",
        ),
    ],
)
def test_what_has_no_form_there_is_refused(tokenizer, roles, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        to_hugging_face(tokenizer, **roles)


def test_both_patterns_are_those_that_were_trained_with():
    assert {TOKENIZERS["GPT-4's words"].pattern, TOKENIZERS["GPT-2's words"].pattern} == {GPT4_PATTERN, GPT2_PATTERN}
