"""Whose turn it is: which of the jobs that may begin a worker takes next.

A job is in the lane of its priority and its key of the API (`lane_of`). Of the lanes that have jobs
which may begin, those of the highest priority are served alone, and take turns: however many jobs
one key has, a job of another key waits for one of each lane. In a lane the oldest comes first.

The place in this round is that of one process. Several each go round by themselves, which comes to
the same: none of them serves a lane twice while another one waits for it.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import field, frozen

from prover_framework.jobs.records import Taken
from prover_framework.model.priorities import priority_of

# Ranges of the index that one statement reads, so that its text and its plan stay small. Where
# there are more lanes, the others are served by the next statements.
MOST_RANGES = 32


@frozen
class ReadyLane:
    """A lane with jobs of a proof type that may begin."""

    proof_type: str
    lane: str


@frozen
class Turn:
    """What one statement takes jobs from.

    Args:
        lanes: The lanes, of one priority, in the order in which they take turns.
        ranges: What of them is read: the lane's place among them, and the proof type.
        most: How many jobs of a range are taken at the most.
    """

    lanes: tuple[str, ...]
    ranges: tuple[tuple[int, str], ...] = field(repr=False)
    most: int

    def last(self, taken: Iterable[str]) -> str | None:
        """Return the lane that was served last, given the lane of each job that was taken."""
        counts: dict[str, int] = {}
        for lane in taken:
            counts[lane] = counts.get(lane, 0) + 1
        return max(counts, key=lambda one: (counts[one], self.lanes.index(one)), default=None)


class Rounds:
    """Remembers for each queue and priority which lane was served last."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, int], str] = {}

    def turn(self, queue: str, ready: Collection[ReadyLane], limit: int) -> Turn:
        """Choose the lanes that a statement takes up to ``limit`` jobs from; some are ready."""
        highest = max(priority_of(one.lane) for one in ready)
        types: dict[str, list[str]] = {}
        for one in ready:
            if priority_of(one.lane) == highest:
                types.setdefault(one.lane, []).append(one.proof_type)
        order = sorted(types)
        first = bisect_right(order, self._served.get((queue, highest), ""))
        lanes = _as_many_as_fit([*order[first:], *order[:first]][:limit], types)
        ranges = [(place, name) for place, lane in enumerate(lanes) for name in types[lane]]
        return Turn(tuple(lanes), tuple(ranges), -(-limit // len(lanes)))

    def note(self, queue: str, turn: Turn, taken: Iterable[str]) -> None:
        """Note the lanes of the jobs that were taken: the round goes on behind the last."""
        if (last := turn.last(taken)) is not None:
            self._served[queue, priority_of(last)] = last


def _as_many_as_fit(lanes: Sequence[str], types: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the first of some lanes whose ranges fit into one statement, and one at least."""
    fitting: list[str] = []
    ranges = 0
    for lane in lanes:
        ranges += len(types[lane])
        if fitting and ranges > MOST_RANGES:
            break
        fitting.append(lane)
    return fitting


def in_turn(turn: Turn, taken: Iterable[Taken]) -> list[Taken]:
    """Return jobs that were taken, in the order in which their lanes took turns."""
    served = dict.fromkeys(turn.lanes, 0)
    places: list[tuple[int, int, Taken]] = []
    for one in sorted(taken, key=lambda one: (one.job.not_before, one.job.id)):
        lane = one.job.lane
        places.append((served[lane], turn.lanes.index(lane), one))
        served[lane] += 1
    return [one for _, _, one in sorted(places, key=lambda entry: entry[:2])]
