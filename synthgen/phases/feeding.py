"""Articles as the model takes them: none twice, none that the spool has, no more than were asked for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

from synthgen.phases.articles import Step
from synthgen.phases.spool import Place, Progressed, SeenKeys
from synthgen.wiki.articles import Article, Outcome, Skipped

Skips = Mapping[str, int]


class Feed:
    """The articles of ``steps`` behind ``at``, up to ``limit`` in all (None: no limit); to be iterated once.

    Articles whose key was ``seen`` are skipped as duplicates: the first one counts, as in the dump. May be
    iterated in one thread while another asks for places and counts.
    """

    def __init__(self, steps: Iterable[Step], at: Progressed, seen: SeenKeys, limit: int | None) -> None:
        self.skipped = Counter(at.skipped)
        self.n_articles = at.rows
        #: How much of the source is done, in its own unit.
        self.done = 0
        #: Where to go on behind the last step; None until all steps have ended.
        self.end: Place | None = None
        self._steps, self._at, self._seen, self._limit = steps, at, seen, limit
        self._places: deque[tuple[Place, Skips]] = deque()

    def __iter__(self) -> Iterator[Article]:
        after = self._at.place
        if self._is_full:
            return
        for step in self._steps:
            taken = self._at.place.taken if step.number == self._at.place.unit else 0
            for index, outcome in enumerate(step.outcomes[taken:], taken + 1):
                article = self._admit(outcome)
                if article is not None:
                    self._places.append((Place(step.number, index), dict(self.skipped)))
                    yield article
                    if self._is_full:
                        return
            self.done, after = step.done, Place(step.number + 1)
        self.end = after

    def n_expected(self, size: int) -> int:
        """Return about how many articles a source of ``size``, in its own unit, will give; 0: unknown."""
        expected = self.n_articles * size // self.done if self.done else 0
        return min(expected, self._limit or expected)

    def pass_on(self, n: int) -> tuple[Place, Skips]:
        """Return how far the source is read, and what was skipped, after the next ``n`` articles."""
        for _ in range(n - 1):
            self._places.popleft()
        return self._places.popleft()

    @property
    def _is_full(self) -> bool:
        return self._limit is not None and self.n_articles >= self._limit

    def _admit(self, outcome: Outcome) -> Article | None:
        if isinstance(outcome, Skipped):
            self.skipped[outcome.reason] += 1
            return None
        if not self._seen.add(outcome.key):
            self.skipped["duplicate"] += 1
            return None
        self.n_articles += 1
        return outcome
