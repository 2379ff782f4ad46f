"""Two-sided quantiles of Student's t, tabulated: numpy has none, and scipy is much for sixty numbers."""

from __future__ import annotations

import numpy as np

#: More degrees of freedom than make a difference.
INFINITE = 10**9
#: Degrees of freedom 1 to 30, then infinity (Abramowitz and Stegun 1964, table 26.10).
_T_95 = np.fromstring(
    """
    12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228
    2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093 2.086
    2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042 1.960
    """,
    sep=" ",
)
_T_99 = np.fromstring(
    """
    63.657 9.925 5.841 4.604 4.032 3.707 3.499 3.355 3.250 3.169
    3.106 3.055 3.012 2.977 2.947 2.921 2.898 2.878 2.861 2.845
    2.831 2.819 2.807 2.797 2.787 2.779 2.771 2.763 2.756 2.750 2.576
    """,
    sep=" ",
)


def t_quantile(degrees: int, confidence: float) -> float:
    """Return t such that |T| < t with probability ``confidence``, 0.95 or 0.99, at ``degrees`` >= 1."""
    table = {0.95: _T_95, 0.99: _T_99}[confidence]
    return float(table[min(degrees, len(table)) - 1])
