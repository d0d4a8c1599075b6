"""The language model that only counts (chapter 00).

``NGramModel`` predicts the next token from the ``order - 1`` tokens before it (Shannon 1948, section 3). Contexts that
were never seen borrow from shorter ones: with c(·) for counts, h for the context, h′ for h without its first token,
and α > 0,

    P(w | h) = (c(h w) + α · P(w | h′)) / (c(h) + α),

down to P(w) = (c(w) + α/V) / (n + α) over V known tokens (MacKay & Peto 1995, eq. 7, with one α for all orders).

A sequence is any list of tokens (strings or numbers). The model adds ``END`` to each, so that it also learns where a
text ends.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

Token = Hashable
BEGIN, END = "<begin>", "<end>"


class NGramModel:
    """P(token | the order - 1 tokens before it), from counts.

        model = NGramModel(order=3).fit([["Rose", "smiled", "."], ["Tom", "smiled", "."]])
        model.next(["Rose"])                     # {"smiled": 0.67, ".": …}
        model.log_prob(["Rose", "smiled", "."])  # nats, END included
        model.sample(seed=0)

    Args:
        order: 1 looks at no context at all, 2 at one token, and so on.
        alpha: how many imaginary counts a shorter context lends to a longer one. More than 0.
    """

    def __init__(self, order: int, alpha: float = 0.5) -> None:
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise ValueError(f"order must be a whole number, 1 or larger, not {order!r}")
        if not alpha > 0 or not math.isfinite(alpha):
            raise ValueError(
                f"alpha must be a positive number, not {alpha!r}: with 0, one unseen word makes a text impossible"
            )
        self.order, self.alpha = order, float(alpha)
        self.counts: list[defaultdict[tuple[Token, ...], Counter[Token]]] = [defaultdict(Counter) for _ in range(order)]
        self.totals: list[Counter[tuple[Token, ...]]] = [Counter() for _ in range(order)]
        self.vocabulary: dict[Token, int] = {END: 0}

    def fit(self, sequences: Iterable[Sequence[Token]]) -> "NGramModel":
        """Count. A second call adds to the counts of the first. Returns the model itself."""
        for sequence in sequences:
            tokens = self._framed(sequence)
            for i in range(self.order - 1, len(tokens)):
                self.vocabulary.setdefault(tokens[i], len(self.vocabulary))
                for length in range(self.order):
                    context = tuple(tokens[i - length : i])
                    self.counts[length][context][tokens[i]] += 1
                    self.totals[length][context] += 1
        return self

    def _framed(self, sequence: Sequence[Token]) -> list[Token]:
        if isinstance(sequence, str):
            raise TypeError(f"a sequence must be a list of tokens, not one string ({sequence[:20]!r}): split it first")
        return [BEGIN] * (self.order - 1) + list(sequence) + [END]

    def probability(self, token: Token, context: Sequence[Token] = ()) -> float:
        """P(token | context). A token that was never seen has probability 0."""
        self._check_fitted()
        return self._probability(token, ([BEGIN] * (self.order - 1) + list(context))[len(context) :])

    def _probability(self, token: Token, context: list[Token]) -> float:
        if token not in self.vocabulary:
            return 0.0
        p = 1 / len(self.vocabulary)
        for length in range(self.order):
            h = tuple(context[len(context) - length :])
            total = self.totals[length].get(h, 0)
            if total:  # a context never seen would leave p as it is
                p = (self.counts[length][h][token] + self.alpha * p) / (total + self.alpha)
        return p

    def next(self, context: Sequence[Token] = ()) -> dict[Token, float]:
        """The distribution of the next token: every known token, the likeliest first."""
        self._check_fitted()
        window = ([BEGIN] * (self.order - 1) + list(context))[len(context) :]
        distribution = {token: self._probability(token, window) for token in self.vocabulary}
        return dict(sorted(distribution.items(), key=lambda item: -item[1]))

    def log_prob(self, sequence: Sequence[Token]) -> float:
        """log P(sequence, END) in nats: the sum of the logs of its steps. -inf if a token is unknown."""
        self._check_fitted()
        tokens = self._framed(sequence)
        total = 0.0
        for i in range(self.order - 1, len(tokens)):
            p = self._probability(tokens[i], tokens[i - self.order + 1 : i])
            if p == 0:
                return -math.inf
            total += math.log(p)
        return total

    def loss(self, sequences: Iterable[Sequence[Token]]) -> float:
        """Mean negative log-likelihood in nats per token, END counted as a token (cross-entropy)."""
        total, tokens = 0.0, 0
        for sequence in sequences:
            total -= self.log_prob(sequence)
            tokens += len(sequence) + 1
        if not tokens:
            raise ValueError("sequences must hold at least one sequence, but it was empty")
        return total / tokens

    def sample(
        self, seed: int, prompt: Sequence[Token] = (), temperature: float = 1.0, max_tokens: int = 200
    ) -> list[Token]:
        """Continue ``prompt`` until END or ``max_tokens`` new tokens, drawn from P(token | context)^(1/temperature)."""
        if not temperature > 0:
            raise ValueError(
                f"temperature must be larger than 0, not {temperature!r}; close to 0 it picks the likeliest token"
            )
        rng = random.Random(seed)
        tokens = list(prompt)
        for _ in range(max_tokens):
            distribution = self.next(tokens)
            top = max(distribution.values())
            weights = [
                (p / top) ** (1 / temperature) for p in distribution.values()
            ]  # p / top: no underflow at low temperature
            token = rng.choices(list(distribution), weights)[0]
            if token == END:
                break
            tokens.append(token)
        return tokens

    def _check_fitted(self) -> None:
        if not self.totals[0]:
            raise ValueError("the model has counted nothing yet: call fit(sequences) first")
