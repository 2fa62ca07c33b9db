# SPDX-License-Identifier: Apache-2.0
import gzip
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadData, BadValue
from edgeshift.runtime.traces import Link, modelled_clock, read_arrivals, read_link


def file(folder: Path, name: str, text: str) -> Path:
    """A trace, packed if its name says so."""
    place = folder / name
    place.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return place


def test_arrival_times_are_replayed_as_they_are(tmp_path: Path) -> None:
    place = file(tmp_path, "a.csv.gz", "t_ms\n0\n500\n2000\n")
    assert read_arrivals(place).tolist() == [0.0, 0.5, 2.0]
    assert read_arrivals(place, scale=2.0).tolist() == [0.0, 0.25, 1.0]
    assert read_arrivals(place, start_s=0.4, seconds=1.0).tolist() == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("name", "text", "rate"),
    [
        ("rate_per_s.txt", "50\n" * 100, 50),
        ("rate_per_min.txt", "600\n" * 10, 10),
        ("r.csv", "mean_per_s,max_per_s\n" + "20,30\n" * 10, 20),
    ],
)
def test_rates_become_a_seeded_poisson_process(name: str, text: str, rate: int, tmp_path: Path) -> None:
    place = file(tmp_path, name, text)
    first, again, other = (
        read_arrivals(place, seed=1),
        read_arrivals(place, seed=1),
        read_arrivals(place, seed=2),
    )
    seconds = 100 if "per_s." in name else 600
    assert first.tolist() == again.tolist() != other.tolist()
    assert (np.diff(first) >= 0).all()
    assert first[-1] < seconds
    # Five standard deviations of a Poisson count.
    assert abs(len(first) - rate * seconds) < 5 * (rate * seconds) ** 0.5


def test_a_link_delivers_when_its_capacity_has_carried_the_size() -> None:
    link = Link(1.0, np.array([10.0, 0.0, 30.0]))
    # 5 kbit: half a second; the next waits for it; the third finds 0 until 2 s; the last is a round later.
    assert link.uploads(np.array([0.0, 0.0, 0.9, 3.0]), 5.0).tolist() == pytest.approx(
        [0.5, 1.0, 2 + 5 / 30, 3.5]
    )


def test_a_link_is_read_by_its_columns(tmp_path: Path) -> None:
    phone = read_link(file(tmp_path, "p.csv", "t_s,mode,down_kbit_s,speed_kmh\n0,5G,30,0\n1,LTE,10,-\n"))
    assert (phone.step_s, phone.kbit_s.tolist()) == (1.0, [30.0, 10.0])
    assert read_link(file(tmp_path, "l.csv", "t_ms,kbit_s\n0,1\n100,2\n")).step_s == 0.1


def test_the_modelled_clock_is_seeded_and_throttles() -> None:
    clock = modelled_clock(0, 1800.0)
    assert (
        clock.share.tolist()
        == modelled_clock(0, 1800.0).share.tolist()
        != modelled_clock(1, 1800.0).share.tolist()
    )
    assert set(clock.share) <= {0.4, 0.6, 0.8, 1.0}
    assert clock.share.min() < 1
    assert clock.celsius.max() < 90


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.csv", "", "a.csv must be a trace, got an empty file"),
        ("a.csv", "t_ms\n", "must have 1 column in every row, got another number"),
        ("a.csv", "t_ms\n-1\n", "numbers of a.csv must be finite and 0 or more, got others"),
        ("a.csv", "t_ms\nnan\n", "numbers of a.csv must be finite"),
        ("a.csv", "who,what\n1,2\n", "a.csv must hold t_ms or a rate, got the columns"),
        ("a.txt", "1\n2\n", "must say _per_s or _per_min in its name, got neither and no header"),
        ("x_per_s.txt", "1\n2,3\n", "must have 1 column in every row"),
        ("x_per_s.txt", "1e9\n", "arrivals of x_per_s.txt must be at most 50000000, got 1e"),
    ],
)
def test_what_is_no_trace_is_refused(name: str, text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=match):
        read_arrivals(file(tmp_path, name, text))


def test_broken_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8b garbage")
    with pytest.raises(BadData, match=r"a\.csv\.gz must be readable text or gzip, got: "):
        read_arrivals(tmp_path / "a.csv.gz")
    with pytest.raises(BadData, match="trace must be a file, got none at "):
        read_arrivals(tmp_path / "absent.csv")
    with pytest.raises(BadData, match="must be a link that carries something, got 0 kbit/s"):
        read_link(file(tmp_path, "l.csv", "t_ms,kbit_s\n0,0\n"))
    with pytest.raises(BadData, match="must be a link with t_ms or t_s and kbit_s"):
        read_link(file(tmp_path, "m.csv", "t_ms\n0\n"))


def test_arguments_are_checked(tmp_path: Path) -> None:
    place = file(tmp_path, "a.csv", "t_ms\n0\n")
    with pytest.raises(BadValue, match="scale must be a finite number above 0, got 0"):
        read_arrivals(place, scale=0)
    with pytest.raises(BadValue, match="start_s and seconds must be a start from 0 and more than 0 seconds"):
        read_arrivals(place, seconds=0)
