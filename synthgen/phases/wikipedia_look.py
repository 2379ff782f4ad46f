"""A look at a source before any work: how many articles, why others are left out, how some of them read."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from synthgen.errors import EXIT_OK, EXIT_UNUSABLE, SynthgenError
from synthgen.phases.articles import ArticleSource, Reading, Step, open_source
from synthgen.phases.feeding import Feed
from synthgen.phases.spool import Progressed, SeenKeys
from synthgen.phases.wikipedia_options import WikipediaOptions
from synthgen.phases.wikipedia_report import describe_skipped
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress
from synthgen.wiki.articles import Article
from synthgen.wiki.ready import Ready
from synthgen.wiki.remains import remains

_N_SAMPLES = 3
_SAMPLE_CHARACTERS = 400


@dataclass
class Look:
    """What is in ``source``: articles, pages left out by reason, markup that is left by kind and the number
    of articles that have any, characters in all, some articles, and where it ends early, if it does.
    """

    source: str
    kind: str
    n_articles: int = 0
    n_characters: int = 0
    n_with_remains: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    remains: Counter[str] = field(default_factory=Counter)
    samples: list[Article] = field(default_factory=list)
    damage: str = ""
    elapsed_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0; 3 where the source is damaged, as for the run that it looks ahead to."""
        return EXIT_UNUSABLE if self.damage else EXIT_OK

    @property
    def n_pages(self) -> int:
        """Pages or rows read."""
        return self.n_articles + sum(self.skipped.values())

    def add(self, article: Article) -> None:
        """Take one article in."""
        self.n_articles += 1
        self.n_characters += len(article.text)
        left = remains(article.text)
        self.n_with_remains += bool(left)
        self.remains.update(left)
        if len(self.samples) < _N_SAMPLES:
            self.samples.append(article)

    def to_document(self) -> dict[str, Any]:
        """Return everything as a JSON document."""
        samples = [article._asdict() for article in self.samples]
        return {**vars(self), "samples": samples, "n_pages": self.n_pages}

    def lines(self) -> list[str]:
        """Return it for people."""
        rate = self.n_pages / self.elapsed_s if self.elapsed_s > 0 else 0.0
        lines = [
            f"{self.source}: {self.kind}",
            f"{self.n_articles:,} articles of {self.n_pages:,} in {self.elapsed_s:.1f} s ({rate:,.0f}/s)",
            f"left out: {describe_skipped(self.skipped) or 'none'}",
            f"markup left in {self.n_with_remains:,} articles: {self._remains() or 'none'}",
        ]
        for article in self.samples:
            text = article.text[:_SAMPLE_CHARACTERS]
            lines += ["", f"[{article.key}] {text}{'...' if len(article.text) > len(text) else ''}"]
        if self.damage:
            lines += ["", f"it ends early: {self.damage}"]
        return [*lines, "nothing was embedded or stored"]

    def _remains(self) -> str:
        return ", ".join(f"{kind} {count:,}" for kind, count in self.remains.most_common())


def look_at(options: WikipediaOptions) -> Look:
    """Read the source of ``options``, up to its limit of articles, and store nothing."""
    assert options.source is not None, "there is nothing to look at in the built-in articles"
    started_s = time.monotonic()
    source = open_source(options.source, options.titles, options.max_characters)
    look = Look(str(options.source), "ready embeddings" if isinstance(source, Ready) else source.kind)
    progress = Progress("look", options.limit or 0, "articles", quiet=options.quiet)
    damage: SynthgenError | None = None
    if isinstance(source, Ready):
        steps = (Step(0, articles, 0) for articles, _ in source.blocks())
        feed = Feed(steps, Progressed(), SeenKeys(), options.limit)
    else:
        reading = Reading(source, 0, options.workers or available_cores())
        feed = Feed(reading, Progressed(), SeenKeys(), options.limit)
    try:
        for article in feed:
            look.add(article)
            if isinstance(source, ArticleSource) and (expected := feed.n_expected(source.size)):
                progress.total = expected
            progress.update(feed.n_articles)
        damage = None if isinstance(source, Ready) else reading.damage
    except SynthgenError as error:
        damage = error
    look.skipped, look.damage = dict(feed.skipped), str(damage or "")
    look.elapsed_s = time.monotonic() - started_s
    progress.finish(f"{look.n_articles:,} articles")
    return look
