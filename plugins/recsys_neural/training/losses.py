r"""The losses over items, as named choices.

With the score :math:`s_{pi} = q_p^\top v_i + b_i` of item *i* at position *p*, its target *t* and drawn items *N*:

==================  =====================================================================================
``cross_entropy``   :math:`-s_{pt} + \ln \sum_i e^{s_{pi}}` over all items
``sampled_softmax`` :math:`-s_{pt} + \ln \big(e^{s_{pt}} + \sum_{i \in N} e^{s_{pi}}\big)`
``bce``             :math:`-\ln \sigma(s_{pt}) - \sum_{i \in N} \ln \sigma(-s_{pi})`
``gbce``            :math:`-\beta \ln \sigma(s_{pt}) - \sum_{i \in N} \ln \sigma(-s_{pi})`
``bpr``             :math:`-\frac{1}{|N|} \sum_{i \in N} \ln \sigma(s_{pt} - s_{pi})`
==================  =====================================================================================

Negatives are uniform, so that a correction by their probability would only add a constant to a softmax; one that is
the position's own target is left out.  The two binary losses are divided by 1 + \|N\|.

References
----------
W.-C. Kang and J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III.E (bce).
S. Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.1 (bpr).
A. Petrov and C. Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
Sampling", RecSys 2023, equations 12 (gbce) and 15 (beta from the calibration t).
A. Klenitskiy and A. Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023
(cross_entropy and sampled_softmax with many negatives).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_neural.training.config import Loss, LossConfig
from recsys_neural.training.cross_entropy import linear_cross_entropy

__all__ = ["ItemLoss", "sampled_loss"]


class ItemLoss(nn.Module):
    """Mean loss of queries that should find their targets among all items.

    Parameters
    ----------
    config
        `loss`, `n_negatives`, `shared_negatives`, `calibration` and `position_chunk` of it.
    n_items
        Number of items to draw negatives from.

    Examples
    --------
    >>> import torch
    >>> loss = ItemLoss(LossConfig(loss="cross_entropy"), n_items=4)
    >>> round(loss(torch.zeros(3, 2), torch.tensor([0, 1, 2]), torch.zeros(4, 2)).item(), 4)
    1.3863
    """

    def __init__(self, config: LossConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.n_items = n_items

    def forward(
        self, queries: Tensor, targets: Tensor, item_factors: Tensor, item_bias: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss.

        Parameters
        ----------
        queries
            float (n_positions, n_factors).
        targets
            int64 (n_positions,).
        item_factors
            float (n_items, n_factors).
        item_bias
            float (n_items,), or None.
        """
        settings = self.config
        if settings.loss == "cross_entropy":
            chunk = settings.position_chunk
            return linear_cross_entropy(queries, item_factors, targets, item_bias, position_chunk=chunk)
        shape = (settings.n_negatives,) if settings.shared_negatives else (len(targets), settings.n_negatives)
        negatives = torch.randint(self.n_items, shape, device=targets.device)
        positive = _scores_of_own(queries, item_factors, item_bias, targets[:, None])
        if settings.shared_negatives:
            rows = functional.embedding(negatives, item_factors)
            negative = functional.linear(queries, rows, None if item_bias is None else item_bias[negatives])
        else:
            negative = _scores_of_own(queries, item_factors, item_bias, negatives)
        # A drawn item that is the target counts for nothing in any of the losses.
        negative = negative.float().masked_fill(negatives == targets[:, None], -torch.inf)
        positive_weight = self._positive_weight(settings.n_negatives) if settings.loss == "gbce" else 1.0
        return sampled_loss(settings.loss, positive.float(), negative, positive_weight)

    def _positive_weight(self, n_negatives: int) -> float:
        """Beta = a (t (1 - 1/a) + 1/a), with a the share of the other items that is drawn."""
        share = min(n_negatives / max(self.n_items - 1, 1), 1.0)
        return share * (self.config.calibration * (1 - 1 / share) + 1 / share)


def sampled_loss(loss: Loss, positive: Tensor, negative: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Mean of one of the sampled losses, of scores however they were computed.

    Parameters
    ----------
    loss
        Any but ``cross_entropy``.
    positive
        float32 (n_positions, 1): scores of the targets.
    negative
        float32 (n_positions, n_negatives): scores of the drawn items, minus infinity for one that does not count.
    positive_weight
        Beta of ``gbce``.
    """
    if loss == "sampled_softmax":
        return (torch.cat([positive, negative], dim=1).logsumexp(1) - positive.squeeze(1)).mean()
    if loss == "bpr":
        # softplus(x) = -ln sigmoid(-x)
        return functional.softplus(negative - positive).mean()
    total = positive_weight * functional.softplus(-positive).squeeze(1) + functional.softplus(negative).sum(1)
    return total.mean() / (1 + negative.shape[1])


def _scores_of_own(queries: Tensor, item_factors: Tensor, item_bias: Tensor | None, items: Tensor) -> Tensor:
    """Scores (P, n) of each position's own items (P, n)."""
    rows = functional.embedding(items, item_factors)
    scores = torch.einsum("pd,pnd->pn", queries, rows.to(queries.dtype))
    return scores if item_bias is None else scores + item_bias[items]
