"""What is believed of a law's parameters before a run is read, and where that is from.

The centres are the coefficients that Luo and others published for 25M and 100M parameters (arXiv 2503.12811; their repository
MultiPowerLaw at 8da9f190), in the mean of what is fitted. The widths are weak, as runs of other people have other data,
batches and models; they and p were chosen on the public curves of two laboratories (scripts/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .laws import vector

Floats = npt.NDArray[np.float64]

PUBLISHED: dict[str, dict[str, float]] = {
    "25M": {
        "L0": 3.04045406, "A": 0.52468604, "alpha": 0.50786857, "B": 363.78751622, "C": 2.06560812,
        "beta": 0.58279013, "gamma": 0.64142257,
    },
    "100M": {
        "L0": 2.65144770, "A": 0.60115152, "alpha": 0.45295811, "B": 437.94642760, "C": 2.13245612,
        "beta": 0.59785199, "gamma": 0.65523644,
    },
}  # fmt: skip
PUBLISHED_PEAK = 3e-4

_LEVEL = 3.1  # nats: the last losses of the published runs are 3.3 (25M) and 2.9 (100M)

FLAT = np.inf  # a width: nothing is believed of the parameter


@dataclass(frozen=True)
class Prior:
    """Centre and standard deviation of each of `laws.MULTI_POWER`; infinite where nothing is believed."""

    centre: Floats
    width: Floats

    def for_losses(self, level: float) -> Prior:
        """The same for losses about `level`: the drop that a decay brings is believed to be a share of the loss.

        So a law of mean squared errors about 0.1, or of losses in bits, is that of the published losses in other units.
        """
        centre = self.centre.copy()
        centre[3] += np.log(level / _LEVEL)
        return Prior(centre, self.width)


# p: a round number between what 124M runs say (.43 to .50 at three peaks) and 25M and 100M ones (1.0 and .7). q: near the
# published 1, as two runs cannot tell it from gamma. alpha: .20 in laws.md section 4.2; .15 was a little better.
_P, _Q = (0.5, 0.25), (1.0, 0.05)
_WIDTHS = (FLAT, FLAT, 0.15, 0.5, 0.7, 0.25, 0.15, _P[1], _Q[1])


def prior(*, without: str | None = None, published: Mapping[str, Mapping[str, float]] = PUBLISHED) -> Prior:
    """The library's prior; `without` a size for a test on that size.

    >>> round(float(np.exp(prior().centre[2])), 2), round(float(np.exp(prior(without="25M").centre[2])), 2)
    (0.48, 0.45)
    """
    used = [vector(one, PUBLISHED_PEAK) for size, one in published.items() if size != without]
    centre = np.mean(used, axis=0)
    centre[-2:] = _P[0], _Q[0]
    return Prior(centre, np.array(_WIDTHS))
