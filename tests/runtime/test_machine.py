# SPDX-License-Identifier: Apache-2.0
"""Any sequence of requests, switches, pins, reloads, rollbacks and failures keeps the switcher's promises."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgeshift.core.errors import Rejected, UnknownName, VariantFailed
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.state import State
from tests.portfolio.made import INPUT, draft
from tests.runtime.made import ACCURACY, LATENCY_MS, RAISE, Faulty, Want, expected, files, first, ladder

NAMES = ("small", "middle", "large")


class Machine(RuleBasedStateMachine):
    """A switcher and what it must be.

    Generation 1 has two variants and generation 2 three; "large" raises for one input. The model keeps what it
    asked for: the wish of the policy, the pin, how many requests ended how.
    """

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "p"
        shutil.copytree(self.template, self.folder)
        self.wish, self.pinned, self.ok, self.refused, self.number = 0, None, 0, 0, 0
        self.engine = Engine(self.folder, backend=Faulty(from_scale=3), mode="warm")
        self.switcher = Switcher(self.engine, Want(self.say), workers=2)

    def say(self, state: State) -> int | None:
        return None if self.wish < 0 else min(self.wish, len(self.engine.ladder) - 1)

    @property
    def served(self) -> list[str]:
        return [profile.name for profile in self.engine.ladder.profiles]

    @rule(wish=st.integers(-1, 2))
    def change_the_wish(self, wish: int) -> None:
        self.wish = wish

    @rule(count=st.integers(1, 4))
    def ask(self, count: int) -> None:
        refused = self.wish < 0 and self.pinned is None
        for future in [self.switcher.submit(INPUT) for _ in range(count)]:
            if refused:
                with pytest.raises(Rejected, match="request must have a deadline that can be met"):
                    future.result(30)
                self.refused += 1
                continue
            answer = future.result(30)
            np.testing.assert_array_equal(answer.outputs["output"], expected(answer.variant))
            assert answer.generation == self.engine.generation
            assert answer.variant == (self.pinned or self.served[min(self.wish, len(self.served) - 1)])
            self.ok += 1

    @rule(name=st.sampled_from(NAMES))
    def ask_by_name(self, name: str) -> None:
        if name in self.served:
            answer = self.switcher.run(INPUT, variant=name)
            assert answer.variant == name
            np.testing.assert_array_equal(answer.outputs["output"], expected(name))
            self.ok += 1
        else:
            with pytest.raises(UnknownName, match="no variant named"):
                self.switcher.run(INPUT, variant=name)

    @precondition(lambda self: self.wish >= 0 or self.pinned)
    @rule()
    def ask_what_the_large_one_cannot_answer(self) -> None:
        answer = self.switcher.run(first(RAISE))
        assert answer.variant != "large"
        self.ok += 1

    @rule(name=st.sampled_from(NAMES))
    def switch(self, name: str) -> None:
        known = name in self.served
        with contextlib.nullcontext() if known else pytest.raises(UnknownName, match="no variant named"):
            self.switcher.switch(name)
        if known:
            assert self.switcher.active.profile.name == name
            if self.pinned:
                self.pinned = name
                self.switcher.pin(name)

    @rule(name=st.sampled_from([*NAMES, None]))
    def pin(self, name: str | None) -> None:
        known = name is None or name in self.served
        with contextlib.nullcontext() if known else pytest.raises(UnknownName, match="no variant named"):
            self.switcher.pin(name)
        if known:
            self.pinned = name

    @rule()
    def reload(self) -> None:
        self.switcher.reload()
        self.after_another_generation()

    @rule()
    def go_back(self) -> None:
        if self.engine.generation == 1:
            with pytest.raises(UnknownName, match="no generation named '0'"):
                self.switcher.rollback()
        else:
            assert self.switcher.rollback() == 1
            self.after_another_generation()

    @rule()
    def publish_the_third(self) -> None:
        """Back to generation 2 on disk, as an update would do."""
        Portfolio.open(self.folder).rolled_back(2)

    def after_another_generation(self) -> None:
        if self.pinned is not None and self.pinned not in self.served:
            self.pinned = None

    @invariant()
    def the_active_variant_is_served_and_ready(self) -> None:
        active = self.switcher.active
        assert active.profile.name in self.served
        assert active.generation == self.engine.generation
        assert self.engine.is_ready(active.index)

    @invariant()
    def every_request_is_counted_once(self) -> None:
        found = self.switcher.snapshot()
        assert (found.counts.get("ok", 0), found.counts.get("deadline", 0)) == (self.ok, self.refused)
        assert found.counts.get("variant_failed", 0) == found.queue == found.in_flight == 0
        assert found.pinned == self.pinned

    @invariant()
    def events_have_no_gaps(self) -> None:
        events = self.switcher.events(self.number)
        assert [e.number for e in events] == list(range(self.number + 1, self.number + 1 + len(events)))
        self.number += len(events)

    def teardown(self) -> None:
        self.switcher.close()
        self.engine.close()
        shutil.rmtree(self.folder.parent)


def tried(tmp_path: Path, examples: int, steps: int) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    made.add(draft("large", ACCURACY["large"], LATENCY_MS["large"]), files("large")).publish()
    with Engine(made.path):  # the cache is built once
        pass
    machine = type("Prepared", (Machine,), {"template": made.path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_few_steps_keep_the_promises(tmp_path: Path) -> None:
    tried(tmp_path, 10, 12)


@pytest.mark.slow
def test_any_ten_thousand_steps_keep_the_promises(tmp_path: Path) -> None:
    tried(tmp_path, 200, 50)


def test_a_variant_failing_alone_is_said(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("large",))
    with Engine(made.path, backend=Faulty(from_scale=3)) as engine, Switcher(engine, Want()) as switcher:
        with pytest.raises(VariantFailed, match="there is no other to ask"):
            switcher.run(first(RAISE))
        np.testing.assert_array_equal(switcher.run(INPUT).outputs["output"], expected("large"))
