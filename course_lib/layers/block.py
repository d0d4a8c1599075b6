"""The residual block: attention and feed-forward, each beside a straight line on which everything passes unchanged.

Where does the norm stand? The paper of 2017 (section 3.1) puts it behind the sum, x = norm(x + sublayer(x)):
*post-norm*, as in BERT. Its own code, tensor2tensor, soon put it in front, x = x + sublayer(norm(x)): *pre-norm*, as
in GPT-2, T5 and nearly everything since. Pre-norm leaves the straight line free, and trains without a long warm-up
(Xiong et al. 2020, section 3); it needs one more norm at the end of the model.

Sizes: B sequences, T positions, S positions of a memory, D model width.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.cache import KeyValueCache


class PreNormBlock(nn.Module):
    """x + sublayer(norm(x)), for self-attention, then (where ``cross`` is given) cross-attention, then feed-forward.

    ``norm`` makes a new norm each time it is called. ``dropout`` acts on what is added to the straight line.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        *,
        cross: MultiHeadAttention | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.attention_norm = attention, norm()
        self.cross, self.cross_norm = cross, (nn.Identity() if cross is None else norm())
        self.feedforward, self.feedforward_norm = feedforward, norm()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        positions: Int[Tensor, "*b T"] | None = None,
        cache: KeyValueCache | None = None,
        memory_cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Masks, positions and caches as in ``MultiHeadAttention``; those named ``memory`` are for cross-attention.

        Raises ValueError where anything of ``memory`` is given and the block has no cross-attention, or where the
        block has it and ``memory`` is missing.
        """
        for name, given in (("memory", memory), ("memory_mask", memory_mask), ("memory_cache", memory_cache)):
            if given is not None and self.cross is None:
                raise ValueError(f"{name} is given, but this block has no cross-attention")
        if memory is None and self.cross is not None:
            raise ValueError("memory is missing, but this block has cross-attention")
        attend = partial(self.attention, mask=mask, causal=causal, positions=positions, cache=cache)
        x = self.residual(x, self.attention_norm, attend)
        if self.cross is not None:
            read = partial(self.cross, memory=memory, mask=memory_mask, cache=memory_cache)
            x = self.residual(x, self.cross_norm, read)
        return self.residual(x, self.feedforward_norm, self.feedforward)

    def residual(
        self, x: Float[Tensor, "B T D"], norm: nn.Module, sublayer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "B T D"]:
        return x + self.dropout(sublayer(norm(x)))


class PostNormBlock(PreNormBlock):
    """norm(x + sublayer(x)), as in the paper of 2017."""

    def residual(
        self, x: Float[Tensor, "B T D"], norm: nn.Module, sublayer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "B T D"]:
        return norm(x + self.dropout(sublayer(x)))
