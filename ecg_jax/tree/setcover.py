"""Few candidates that cover most samples: lazy greedy, and the exact optimum.

Coverage is submodular, so greedy reaches at least `1 - 1/e` of what the best choice of
as many candidates covers. Coverage is held as bits, one row a candidate.

Source: Nemhauser, Wolsey & Fisher, An analysis of approximations for maximizing
submodular set functions, 1978; Minoux, Accelerated greedy algorithms, 1978.
"""

import heapq

import numpy as np
from jaxtyping import Bool, Int, UInt8

from ecg_jax.errors import CoverError


def pack(table: Bool[np.ndarray, "n k"]) -> UInt8[np.ndarray, "k bytes"]:
    """Samples by candidates as bits, a row of bytes for each candidate."""
    return np.packbits(np.asarray(table).T, axis=1)


def greedy(covers: UInt8[np.ndarray, "k bytes"], num: int) -> list[int]:
    """Candidates in the order of what they add, lazily evaluated.

    Args:
      covers: from `pack`.
      num: how many at most; fewer where nothing is left to add.

    Returns:
      Indices of candidates; the first one at a tie.

    Raises:
      CoverError: there are no candidates.

    Example:
      >>> import numpy as np
      >>> table = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]], bool)
      >>> greedy(pack(table), 2)
      [0, 1]
    """
    if not len(covers):
        raise CoverError("no candidates to choose from.\n  try: more data")
    queue = [(-int(np.bitwise_count(row).sum()), i) for i, row in enumerate(covers)]
    heapq.heapify(queue)
    open_, chosen = np.full(covers.shape[1], 255, np.uint8), []
    while queue and len(chosen) < num:
        _, best = heapq.heappop(queue)
        gain = int(np.bitwise_count(covers[best] & open_).sum())
        if queue and (-gain, best) > queue[0]:
            heapq.heappush(queue, (-gain, best))
            continue
        if not gain:
            break
        chosen.append(best)
        open_ &= ~covers[best]
    return chosen


def optimum(
    table: Bool[np.ndarray, "n k"], num: int, *, seconds: float = 60.0
) -> tuple[list[int], bool]:
    """The choice of `num` candidates that covers most samples, by MILP (HiGHS).

    Samples with equal rows are merged. Only for instances small enough.

    Args:
      table: samples by candidates.
      num: how many candidates.
      seconds: time limit.

    Returns:
      The candidates, and whether they are proven to be optimal.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, hstack, identity, vstack

    rows, count = np.unique(np.asarray(table), axis=0, return_counts=True)
    num_rows, num_candidates = rows.shape
    use = csr_array(-rows.astype(float))
    covered = identity(num_rows, format="csr")
    budget = csr_array(np.r_[np.ones(num_candidates), np.zeros(num_rows)][None])
    found = milp(
        np.r_[np.zeros(num_candidates), -count.astype(float)],
        integrality=np.r_[np.ones(num_candidates), np.zeros(num_rows)],
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            vstack([hstack([use, covered]), budget]),
            -np.inf,
            np.r_[np.zeros(num_rows), num],
        ),
        options={"time_limit": seconds},
    )
    if found.x is None:
        raise CoverError(f"the solver found no choice: {found.message}")
    chosen = np.flatnonzero(found.x[:num_candidates] > 0.5).tolist()
    return chosen, found.status == 0


def share(
    table: Bool[np.ndarray, "n k"], chosen: list[int] | Int[np.ndarray, " c"]
) -> float:
    """The share of samples that some chosen candidate covers."""
    return float(np.asarray(table)[:, chosen].any(axis=1).mean())
