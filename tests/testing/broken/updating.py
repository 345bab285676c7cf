"""Recommenders whose update breaks a promise."""

from __future__ import annotations

import numpy as np

from broken.healthy import Averages, Neighbors
from recsys_core import DotForm
from recsys_core.models.update import grow


class ShufflesItsUsers(Neighbors):
    """Takes new interactions, and numbers all users and items anew."""

    def update_form(self, update):
        return self.fit_form(update.interactions(), lambda done, total: None)

    def partial_fit(self, interactions):
        return self.fit(grow(self.fitted, interactions).interactions().select(slice(None, None, 2)))


class ForgetsNewItems(Averages):
    """Grows, but gives new items and users nothing."""

    def update_form(self, update):
        form = update.before.form
        n_users, n_items = len(update.users), len(update.items)
        items, users = (
            np.vstack([old, np.zeros((n - len(old), old.shape[1]), np.float32)])
            for old, n in ((form.item_factors, n_items), (form.user_factors, n_users))
        )
        bias = np.where(np.arange(n_items) < len(form.item_factors), 0.0, -9.0).astype(np.float32)
        return DotForm(items, bias, users, form.fold_in)


class WritesIntoTheOldForm(Averages):
    """Saves a copy, and changes what is being served."""

    def update_form(self, update):
        form = self.fit_form(update.interactions(), lambda done, total: None)
        update.before.form.item_factors[:] = 0.0
        update.before.form.user_factors[:] = 0.0
        return form
