"""Translation as a loss: the mean of -log P(next target token | source, the target so far), in nats per target token.

Label smoothing: Vaswani et al. 2017, section 5.4.
"""

from torch import nn

from course_lib.data.batches import PairBatch
from course_lib.objectives.causal import LossSum, loss_sum


def translation_loss(model: nn.Module, batch: PairBatch, *, smoothing: float = 0.0) -> LossSum:
    """For a ``Transformer``. To smooth in the training loop, hand in ``partial(translation_loss, smoothing=0.1)``."""
    return loss_sum(model(batch.source, batch.target, batch.source_real), batch.labels, smoothing=smoothing)
