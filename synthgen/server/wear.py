"""When an index of vectors is to be fitted anew, though it has the right size.

Its centroids and steps are those of the vectors it was first filled with. What is stored afterwards (another
model's vectors under the same ids, another subject) may lie between the lists, and beyond the steps: then the
lists that are looked into hold fewer of the nearest. 15,000 rows of another law appended to 4,500 had 0.915
of their ten nearest, and 0.995 once fitted anew; 8,000 of other clusters in place of the first 0.70, and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: What came since is looked at whenever it is this share of what there was.
_WINDOW = 0.5
#: What has less of the mean cosine to the centroids than others of the kind that an index was fitted to suits
#: it no more: articles in another order of subjects have 0.74, descriptions of packages after articles 0.24,
#: another law 0.15. Those that it was fitted to themselves are nearer: vectors without clusters have 0.56 of
#: what those have.
_LEAST_SHARE = 0.85
#: More by this share are beyond the steps.
_MORE_LOOSE = 0.01


@dataclass
class Wear:
    """What an index was fitted to, and what came since.

    ``n_fitted`` vectors filled it at first, a share of ``loose_fitted`` of them loose; others of their kind
    have the mean ``cosine_fitted`` to their centroids. ``n_replaced`` were replaced since. ``n_new``,
    ``cosine_new`` and ``loose_new`` are sums over those added lately.
    """

    n_fitted: int = 0
    cosine_fitted: float = 0.0
    loose_fitted: float = 0.0
    n_replaced: int = 0
    n_new: int = 0
    cosine_new: float = 0.0
    loose_new: int = 0
    is_worn: bool = False

    def see(self, cosines: NDArray[np.float32], is_loose: NDArray[np.bool_]) -> None:
        """Note vectors that are added: ``cosines`` (n,) to their centroids, and which are loose (n,)."""
        self.n_new += len(cosines)
        self.cosine_new += float(cosines.sum(dtype=np.float64))
        self.loose_new += int(np.count_nonzero(is_loose))

    def expect(self, cosines: NDArray[np.float32]) -> None:
        """Note ``cosines`` (n,) to their centroids of vectors that it was not fitted to, of the same kind."""
        self.cosine_fitted = float(cosines.mean(dtype=np.float64))

    def begun(self) -> Wear:
        """Return that of an index which what was seen so far has filled at first."""
        return Wear(self.n_new, self.cosine_fitted, self.loose_new / max(self.n_new, 1))

    def look(self) -> None:
        """Find out whether it is worn, where enough has come since."""
        window = _WINDOW * self.n_fitted
        self.is_worn |= self.n_replaced > window
        if self.n_new > window:
            is_far = self.cosine_new < _LEAST_SHARE * self.cosine_fitted * self.n_new
            self.is_worn |= is_far or self.loose_new > (self.loose_fitted + _MORE_LOOSE) * self.n_new
            self.n_new, self.cosine_new, self.loose_new = 0, 0.0, 0
