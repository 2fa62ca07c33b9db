# SPDX-License-Identifier: Apache-2.0
"""Why this one, what the next best costs, how sure it is, and what one more measurement would be worth."""

from dataclasses import dataclass

import numpy as np

from edgeshift.plan.figures import Candidates, chances
from edgeshift.plan.limits import QUANTITIES, Limit


@dataclass(frozen=True)
class Explanation:
    """What the planner says of one choice.

    Attributes:
        name: Of the chosen candidate.
        sure: Probability that all its limits hold.
        tight: The limit that it comes nearest to, as text, or "" without limits.
        headroom: What is left of that limit, as a share of it; below 0 = over.
        better: The least accurate candidate above it, or "" if it is the most accurate.
        better_breaks: The limit that the one above breaks most, as text, or "".
        better_over: By what share of the limit.
        runner_up: The next best that is likely to keep the limits, or "".
        runner_up_loss: Accuracy that it costs, 0..1.
        measure: The candidate whose measurement is worth most, or "" if none can change the choice.
        worth: Accuracy that one measurement of it gains in expectation, 0..1.
        risk: Probability that the choice is over a limit: what measuring the choice itself would find out.
    """

    name: str
    sure: float
    tight: str
    headroom: float
    better: str
    better_breaks: str
    better_over: float
    runner_up: str
    runner_up_loss: float
    measure: str
    worth: float
    risk: float

    def lines(self) -> tuple[str, ...]:
        """The same as sentences."""
        why = "is chosen" if self.sure >= 0.5 else "is only the nearest"
        said = [f"{self.name} {why}; all limits hold with probability {self.sure:.2f}."]
        if self.tight and self.headroom >= 0:
            said.append(f"{self.headroom:.1%} is left of {self.tight}, its tightest limit.")
        elif self.tight:
            said.append(f"It is {_share(-self.headroom)} over {self.tight}, its tightest limit.")
        if self.better:
            why = (
                f"is {_share(self.better_over)} over {self.better_breaks}"
                if self.better_breaks
                else "is inside the limits only without the margin"
            )
            said.append(f"{self.better}, the next more accurate one, {why}.")
        else:
            said.append("Nothing is more accurate.")
        if self.runner_up:
            said.append(
                f"The next best, {self.runner_up}, costs {100 * self.runner_up_loss:.2f} points of accuracy."
            )
        if self.measure:
            said.append(f"Measuring {self.measure} would gain {100 * self.worth:.2f} points in expectation.")
        if 0.005 < self.risk < 0.995:
            said.append(f"Measuring {self.name} itself would settle a risk of {self.risk:.1%}.")
        return tuple(said)


def _share(share: float) -> str:
    """A percentage, or a number of times where that says more."""
    return f"{share:.1%}" if share < 10 else f"{share:,.0f} times"


def explain(candidates: Candidates, place: int) -> Explanation:
    """What can be said of the choice of one candidate.

    The worth of a measurement is the expected rise of accuracy if its answer may change the choice: the probability
    that the measured one keeps all limits, times what it gains over the choice. It counts one measurement only.

    Args:
        candidates: All that could be chosen, with their figures.
        place: Of the chosen one.
    """
    gains, sure = candidates.gains, candidates.sure()
    tight, headroom = _tightest(candidates, place)
    above = np.flatnonzero(gains > gains[place])
    better = int(above[np.lexsort((-sure[above], gains[above]))[0]]) if len(above) else -1
    breaks, over = _tightest(candidates, better) if better >= 0 else (None, 0.0)
    others = [i for i in np.argsort(-gains, kind="stable") if i != place and gains[i] <= gains[place]]
    likely = [i for i in others if sure[i] >= min(0.5, sure[place])]
    # Between 0.001 and 0.999: what is all but certain is not worth a measurement.
    open_ = above[(sure[above] > 1e-3) & (sure[above] < 0.999)]
    worth = sure[open_] * (gains[open_] - gains[place])
    most = int(open_[worth.argmax()]) if len(open_) else -1
    return Explanation(
        candidates.names[place],
        float(sure[place]),
        tight.text if tight else "",
        headroom,
        candidates.names[better] if better >= 0 else "",
        breaks.text if breaks is not None and over < 0 else "",
        -over,
        candidates.names[likely[0]] if likely else "",
        float(gains[place] - gains[likely[0]]) if likely else 0.0,
        candidates.names[most] if most >= 0 else "",
        float(worth.max()) if len(open_) else 0.0,
        float(1 - sure[place]),
    )


def _tightest(candidates: Candidates, place: int) -> tuple[Limit | None, float]:
    """The limit with the least room, and the room as a share of the limit."""
    found: tuple[Limit | None, float] = (None, np.inf)
    for limit, figure in candidates.figures.items():
        value = float(figure.value[place])
        room = (value - limit.value if limit.floor else limit.value - value) / limit.value
        if room < found[1]:
            found = (limit, room)
    return found if found[0] is not None else (None, 0.0)


def nearest(candidates: Candidates, place: int) -> tuple[str, ...]:
    """For a choice that breaks limits: which, by how much, and what each limit would have to be."""
    said = []
    for limit, figure in candidates.figures.items():
        if chances(limit, figure)[place] >= 0.5:
            continue
        unit, value = QUANTITIES[limit.quantity].unit, float(figure.value[place])
        said.append(
            f"{limit.text} cannot be kept; {candidates.names[place]} comes nearest with {value:.4g}{unit}."
        )
    return tuple(said)
