"""Which items may be recommended."""

from __future__ import annotations

from dataclasses import dataclass

import scipy.sparse as sp

from recsys_core.types import CSR, IndexArray

__all__ = ["NO_FILTERS", "Filters"]


@dataclass(frozen=True, eq=False)
class Filters:
    """Which items may be recommended, by position; an item has to pass all three.

    Parameters
    ----------
    exclude
        CSR (n_queries, n_items): what each query is not to get.  Only the structure counts.
    allow
        The only items to return, where not None: int64 positions for all queries, or CSR (n_queries, n_items) for
        each, of which only the structure counts.
    deny
        int64 positions that nobody is to get.
    """

    exclude: CSR | None = None
    allow: IndexArray | CSR | None = None
    deny: IndexArray | None = None

    def of(self, queries: slice) -> Filters:
        """The filters of some of the queries."""
        allow = self.allow[queries] if sp.issparse(self.allow) else self.allow
        return Filters(None if self.exclude is None else self.exclude[queries], allow, self.deny)


NO_FILTERS = Filters()
"""Everything may be recommended."""
