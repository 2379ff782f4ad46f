"""Phase 1: articles of Wikipedia, with real embeddings, into a database or a file.

    source ──units──> processes ──articles──> thread: windows, cache ──> model ──> spool ──> thread: ingest
     dump, tables     pages, text             tokens, one ahead          (here)    (disk)    (its processes)

Every stage waits for the model, which waits for none: the stages before it are a window ahead, those behind
it work while the next one is made. What the model has made is in the cache before anybody hears of it, and
what the spool has is never made again: a run that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from synthgen.errors import InputError, Interrupted, SynthgenError
from synthgen.formats.memory_files import check_output
from synthgen.formats.real_memories import MemoryBlock
from synthgen.ingest.run import check_spaces
from synthgen.phases.articles import ArticleSource, Reading, Step, identity_of, open_source
from synthgen.phases.deliver import database_target
from synthgen.phases.embedding import Embedding, Load, check_dimension, load_model, open_embedding
from synthgen.phases.feeding import Feed
from synthgen.phases.spool import Place, Spool
from synthgen.phases.storing import Storing
from synthgen.phases.wikipedia_options import RUNS_NAME, WikipediaOptions
from synthgen.phases.wikipedia_output import check_room_for, publish
from synthgen.phases.wikipedia_report import WikipediaReport, describe_skipped
from synthgen.runtime.files import check_free_space
from synthgen.runtime.interrupts import Interrupts
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress
from synthgen.wiki.embedding import EmbeddingCounts, Vectors, embed_articles
from synthgen.wiki.ready import Ready
from synthgen.wiki.records import block_of
from synthgen.wiki.text import TEXT_VERSION

#: Processes that parse: each keeps up with some hundred articles a second, more than most models.
_MAX_WORKERS = 8
#: What an article of the usual length takes below the cache folder.
_SPOOL_BYTES, _CACHE_BYTES = 11_000, 3_100


class Made(NamedTuple):
    """A window that is ready to be stored, and how far the source is read behind it."""

    block: MemoryBlock
    place: Place
    skipped: Mapping[str, int]


def store_articles(options: WikipediaOptions, load: Load = load_model) -> WikipediaReport:
    """Bring the articles of a dump, of tables or with ready embeddings to where ``options`` say.

    Continues what an earlier call with the same source and model left. Raises UsageError, InputError (a
    source that is damaged: after all before the damage was stored), TargetError, ResourceError, Interrupted;
    what is done is kept in all cases. The vectors depend on the model and, by rounding, on the machine; those
    in the cache are used as they are.
    """
    started_s = time.monotonic()
    assert options.source is not None, "the built-in articles have a way of their own"
    target = ""
    if options.target:
        check_spaces(options.spaces)
        options.ingest_spec(options.cache, target)  # what it refuses, before any work
        target = database_target(options.target)
    if options.output is not None:
        check_output(options.output)
    source = open_source(options.source, options.titles, options.max_characters)
    with contextlib.ExitStack() as opened:
        embedding = None
        if isinstance(source, Ready):
            check_dimension(source.dimension, options)
        else:
            embedding = opened.enter_context(open_embedding(options, load))
        identity = _identity(options, source, embedding)
        spool = opened.enter_context(Spool(_folder_of(options, identity), identity))
        interrupts = opened.enter_context(Interrupts())
        if options.limit is not None:
            n_most = source.n_rows if isinstance(source, Ready) else source.n_most
            n_bytes = _SPOOL_BYTES + (_CACHE_BYTES if embedding else 0)
            check_free_space(options.cache, max(0, min(options.limit, n_most) - spool.at.rows) * n_bytes)
        run = _Run(options, source, embedding, spool, interrupts)
        if options.output is not None:
            check_room_for(options.output, spool, options.limit)
        return run.report(target, started_s)


class _Run:
    """One run: what :func:`store_articles` has opened, and what comes of it."""

    def __init__(
        self,
        options: WikipediaOptions,
        source: ArticleSource | Ready,
        embedding: Embedding | None,
        spool: Spool,
        interrupts: Interrupts,
    ) -> None:
        self._options = options
        self._source = source
        self._embedding = embedding
        self._spool = spool
        self._interrupts = interrupts
        self._counts = EmbeddingCounts()
        self._n_before = min(spool.at.rows, options.limit or spool.at.rows)
        self._damage: SynthgenError | None = None
        total = options.limit or (source.n_rows if isinstance(source, Ready) else 0)
        self._progress = Progress("wikipedia", total, "articles", quiet=options.quiet)
        self._progress.start_at(self._n_before)

    def report(self, target: str, started_s: float) -> WikipediaReport:
        """Make and store the memories; return what came of it, or raise the damage of the source."""
        ingested = None
        if self._options.target:
            spec = self._options.ingest_spec(self._spool.folder, target)
            with Storing(self._spool, spec, self._options.limit, self._is_stop_asked) as storing:
                self._make(storing)
                if self._n_memories:
                    ingested = storing.finish(verify=self._options.verify and self._damage is None)
        else:
            self._make(None)
        if self._damage is not None:
            raise self._kept(self._damage)
        if self._n_memories == 0:
            told = describe_skipped(self._spool.at.skipped) or "nothing"
            raise InputError(
                f"holds no articles (left out: {told})",
                where=str(self._options.source),
                next_step="name another one",
            )
        if self._options.output is not None:
            self._publish(self._options.output)
        source, embedding = self._source, self._embedding
        return WikipediaReport(
            source=str(self._options.source),
            n_memories=self._n_memories,
            n_before=self._n_before,
            skipped=self._spool.at.skipped,
            elapsed_s=time.monotonic() - started_s,
            model=embedding.about if embedding else None,
            counts=self._counts,
            lengths=source.lengths if isinstance(source, Ready) else None,
            output=str(self._options.output) if self._options.output else None,
            ingest=ingested,
        )

    @property
    def _n_memories(self) -> int:
        return min(self._spool.at.rows, self._options.limit or self._spool.at.rows)

    def _make(self, storing: Storing | None) -> None:
        """Fill the spool with what is missing there."""
        enough = self._options.limit is not None and self._spool.at.rows >= self._options.limit
        if self._spool.at.ended or enough:
            return
        windows = (
            self._of_ready(self._source)
            if isinstance(self._source, Ready)
            else self._of_articles(self._source)
        )
        with contextlib.closing(windows):  # which ends its processes
            for made in windows:
                self._spool.append(*made)
                if storing is not None:
                    storing.check()
                self._stop_if_asked()
        self._progress.finish(f"{self._spool.at.rows:,} articles")

    def _of_articles(self, source: ArticleSource) -> Generator[Made, None, None]:
        assert self._embedding is not None, "only ready embeddings need no model"
        workers = self._options.workers or min(available_cores(), _MAX_WORKERS)
        reading = Reading(source, self._spool.at.place.unit, workers)
        feed = Feed(reading, self._spool.at, self._spool.seen, self._options.limit)

        def tell(counts: EmbeddingCounts) -> None:
            self._tell(feed, source.size)
            self._stop_if_asked()

        embedder, cache = self._embedding.embedder, self._embedding.cache
        try:
            for window in embed_articles(feed, embedder, cache, counts=self._counts, on_batch=tell):
                block = block_of(window.articles, window.vectors, source.language)
                yield Made(block, *feed.pass_on(len(window.articles)))
        finally:
            reading.stop()
        self._damage = reading.damage
        if feed.end is not None and self._damage is None:
            self._spool.end(feed.end, feed.skipped)

    def _of_ready(self, source: Ready) -> Generator[Made, None, None]:
        vectors: dict[int, Vectors] = {}

        def steps() -> Iterator[Step]:
            row = self._spool.at.place.unit
            try:
                for articles, block in source.blocks(row):
                    vectors[row], n_before = block, feed.n_articles
                    yield Step(row, articles, row + len(articles))
                    if feed.n_articles == n_before:  # all duplicates: nobody asks for it
                        del vectors[row]
                    row += len(articles)
            except InputError as error:
                self._damage = error

        feed = Feed(steps(), self._spool.at, self._spool.seen, self._options.limit)
        placed = ((article, *feed.pass_on(1)) for article in feed)
        for row, group in groupby(placed, key=lambda item: item[1].unit):
            articles, places, skipped = zip(*group, strict=True)
            rows = [place.taken - 1 for place in places]
            yield Made(block_of(articles, vectors.pop(row)[rows]), places[-1], skipped[-1])
            self._tell(feed, source.n_rows)
        if feed.end is not None and self._damage is None:
            self._spool.end(feed.end, feed.skipped)

    def _tell(self, feed: Feed, size: int) -> None:
        """Show how far it is: the number of articles of a dump is known by what was read of it so far."""
        counts, progress = self._counts, self._progress
        made = self._n_before + counts.hits + counts.embedded
        done = made if self._embedding else self._spool.at.rows
        if expected := feed.n_expected(size):
            progress.total = max(done, expected)
        notes = [f"left out: {told}" if (told := describe_skipped(dict(feed.skipped))) else ""]
        notes.append(f"{counts.hits:,} out of the cache" if counts.hits else "")
        progress.update(done, "; ".join(filter(None, notes)))

    def _is_stop_asked(self) -> bool:
        return self._interrupts.requested

    def _stop_if_asked(self) -> None:
        if self._is_stop_asked():
            raise Interrupted(
                f"stopped after {self._spool.at.rows:,} articles",
                where=str(self._options.source),
                next_step="the same command goes on from here; what is embedded is kept",
            )

    def _kept(self, damage: SynthgenError) -> SynthgenError:
        """Return the damage of the source, with what was done in spite of it."""
        stored = "stored" if self._options.target else "kept"
        what = f"{damage.what}; the {self._n_memories:,} articles before are {stored}"
        next_step = damage.next_step
        if self._options.output is not None and self._n_memories:
            next_step += f", or have those before it written with --limit {self._n_memories}"
        return type(damage)(what, where=damage.where, next_step=next_step)

    def _publish(self, output: Path) -> None:
        embedding = self._embedding
        about = {
            "source": str(self._options.source),
            "model": dict(embedding.about) if embedding else None,
            "skipped": dict(self._spool.at.skipped),
        }
        publish(self._spool, output, self._n_memories, about)


def _folder_of(options: WikipediaOptions, identity: Mapping[str, Any]) -> Path:
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return options.cache / RUNS_NAME / digest[:16]


def _identity(
    options: WikipediaOptions, source: ArticleSource | Ready, embedding: Embedding | None
) -> dict[str, Any]:
    """Return what the memories are a function of, so that other work has another folder."""
    titles = source.titles if isinstance(source, Ready) else None
    return {
        "source": identity_of(source.path),
        "titles": identity_of(titles) if titles else None,
        "text_version": TEXT_VERSION,
        "max_characters": options.max_characters,
        "model": embedding.embedder.model_digest if embedding else None,
    }
