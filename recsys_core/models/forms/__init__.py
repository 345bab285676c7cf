r"""Scoring forms: what a fitted recommender computes, apart from how it was trained.

Evaluation, export, the runtime and serving know these forms and no model's name.  A form is a bundle of arrays, so
saving, loading and exporting a model needs no code from its author.

=================  ==========================================================  =============================
form               score of item *i*                                           what it can be asked
=================  ==========================================================  =============================
``DotForm``        :math:`q \cdot v_i + b_i`                                   users (lookup), histories (encode)
``ItemItemForm``   :math:`\sum_j h_j W_{ji}`                                   histories
``PairForm``       :math:`f(q, x_i)`, a graph                                  users (lookup), histories (encode)
``StaticForm``     :math:`s_i`                                                 anything
=================  ==========================================================  =============================
"""

from __future__ import annotations

from recsys_core.models.forms.dot import DotForm
from recsys_core.models.forms.fold_in import FoldIn, HistoryRidge
from recsys_core.models.forms.form import Form, form_from_state, indexed_part
from recsys_core.models.forms.item_item import ItemItemForm
from recsys_core.models.forms.pair import PairForm
from recsys_core.models.forms.pair_scorer import PairScorer
from recsys_core.models.forms.prior_mean import PriorMean, feature_matrix
from recsys_core.models.forms.standardize import standardized_scores
from recsys_core.models.forms.static import StaticForm

__all__ = [
    "DotForm",
    "FoldIn",
    "Form",
    "HistoryRidge",
    "ItemItemForm",
    "PairForm",
    "PairScorer",
    "PriorMean",
    "StaticForm",
    "feature_matrix",
    "form_from_state",
    "indexed_part",
    "standardized_scores",
]
