"""Our tokenizer as one of Hugging Face's, with the same ids. This module alone needs transformers."""

from typing import Any

from course_lib.data.tokenizers import BytePairTokenizer


def to_hugging_face(tokenizer: BytePairTokenizer, **roles: str) -> Any:
    """A ``PreTrainedTokenizerFast`` that gives the ids of ``tokenizer.encode(text, allow_special=True)``.

    ``roles`` say what special tokens are for, as ``eos_token="<|endoftext|>"`` or ``pad_token=...``.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, BytePairTokenizer):
        raise TypeError(
            f"tokenizer must be a BytePairTokenizer, not {tokenizer!r:.60}: Transformers has a form for no other"
        )
    for role, token in roles.items():
        if not role.endswith("_token") or token not in tokenizer.special_ids:
            known = ", ".join(map(repr, tokenizer.special_tokens)) or "none"
            raise ValueError(f"{role} is {token!r}: give eos_token, pad_token, ..., one of the special tokens: {known}")
    letters = _letters()
    written = ["".join(letters[byte] for byte in tokenizer.token_bytes(i)) for i in range(256 + len(tokenizer.merges))]
    merges = [(written[left], written[right]) for left, right in tokenizer.merges]
    theirs = tokenizers.Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(written)}, merges=merges))
    words = tokenizers.Regex(rf"{tokenizer.pattern}|[\s\S]")  # as here: what the pattern leaves out is a word, too
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    theirs.decoder = decoders.ByteLevel()
    theirs.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in tokenizer.special_tokens])
    for token, number in tokenizer.special_ids.items():
        if theirs.token_to_id(token) != number:
            raise ValueError(f"tokenizer has {token!r} as a special token and as an ordinary one: there it has one id")
    return PreTrainedTokenizerFast(tokenizer_object=theirs, clean_up_tokenization_spaces=False, **roles)


def _letters() -> dict[int, str]:
    """A visible character for each byte (GPT-2, src/encoder.py): itself where it is one, else one from 256 upwards."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
