"""Make synthgen/generate/data/normal_16bit.npy: the standard normal as 65,536 equally likely integers.

Entry i (upper half, i = 0..32767) is the mean of the standard normal between its quantiles
(32768 + i) / 65536 and (32769 + i) / 65536, in units of 2**-24, rounded; the lower half is its mirror
image. Means of bins, not midpoints, keep the first moment of each bin. Needs scipy, which the package
itself does not: the table is shipped because log and exp differ in last bits between machines.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).parent.parent / "synthgen" / "generate" / "data" / "normal_16bit.npy"


def main() -> None:
    """Write the table and say what its moments are."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    from scipy.special import ndtri  # not needed to be told what this is
    from scipy.stats import norm

    edges = ndtri(np.arange(32768, 65537) / 65536)
    density = norm.pdf(edges)
    density[-1] = 0.0  # the last edge is infinite
    means = (density[:-1] - density[1:]) * 65536
    upper = np.rint(means * 2**24).astype("<i4")
    buffer = io.BytesIO()
    np.save(buffer, upper)
    OUTPUT.write_bytes(buffer.getvalue())
    z = np.concatenate([-upper[::-1], upper]) / 2**24
    print(
        f"{OUTPUT.name}: {len(upper)} entries, largest {z.max():.4f}, variance {np.mean(z**2):.8f}, "
        f"kurtosis {np.mean(z**4) / np.mean(z**2) ** 2:.6f}"
    )


if __name__ == "__main__":
    main()
