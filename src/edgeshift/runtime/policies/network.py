# SPDX-License-Identifier: Apache-2.0
"""What the upload takes is not there for the answer."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.limits import answered_by, from_zero, positive, trusted
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

# A link outside of this is a broken counter: 100 bit/s to 100 Gbit/s.
PLAUSIBLE_KBIT_S = (0.1, 1e8)
# Uploads behind the estimate, as in the paper's client.
LAST = 5


@dataclass(frozen=True)
class Network(Policy):
    """Gives another policy the deadline less the upload, which began before the device knew of the request.

    The upload is estimated from the harmonic mean of the last 5 throughputs of the sensor `upload`: one slow upload
    weighs as much as it costs. Requests whose budget is used up on the way are refused by the inner policy.

    Attributes:
        inner: Policy that is given the budget, or its name.
        kbit: Size of a request on the link.
        answer_ms: What the way back takes.
    """

    card: ClassVar[Card] = Card(
        name="network",
        says="Takes the estimated upload off the deadline, around another policy.",
        paper="Nigade et al., RTSS 2022 (Jellyfish)",
        link="https://doi.org/10.1109/RTSS55097.2022.00021",
        needs="measurements",
    )
    sensors: ClassVar[tuple[str, ...]] = ("upload",)

    inner: str | Policy = "deadline"
    kbit: float = 24.0
    answer_ms: float = 0.0

    def __post_init__(self) -> None:
        positive("kbit", self.kbit)
        from_zero("answer_ms", self.answer_ms)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`. Remembers how many uploads it saw, when the last was, and their throughputs."""
        count = int(state.memory[0]) if state.memory else 0
        seen_s, seen = state.memory[1:2], state.memory[2 : 2 + count]
        rest = state.but(memory=state.memory[2 + count :])
        kbit_s = trusted(state, "upload", *PLAUSIBLE_KBIT_S)
        if kbit_s is None:
            return answered_by(self.inner, rest, ladder, 0, "upload unknown", (0.0, 0.0))
        at_s = state.now_s - state.sensors["upload"].age_s
        if not abs(at_s) < float("inf"):  # when it was read cannot be told: remember nothing
            return answered_by(self.inner, rest, ladder, 0, "upload unknown", (0.0, 0.0))
        if not seen_s or not abs(at_s - seen_s[0]) < 1e-6:
            seen = (*seen, kbit_s)[-LAST:]
        upload_s = self.kbit * sum(1 / value for value in seen) / len(seen)
        budget = rest.but(deadline_s=state.deadline_s - upload_s - self.answer_ms / 1000)
        return answered_by(
            self.inner, budget, ladder, len(ladder) - 1, "upload", (float(len(seen)), at_s, *seen)
        )
