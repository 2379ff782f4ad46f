"""The embedded, Engram-compatible server: HTTP over one SQLite file, durable before it answers.

The path of one memory: ``connection`` reads the request, all of it bounded, ``app`` has ``requests`` check it
and pack the embedding, ``writer`` puts it into the next group commit, and
only when that commit is on the disk does ``app`` answer 201. Readers (``reading``, ``recall``,
``texts``) run in threads of their own on connections of their own (``store``).
"""

from synthgen.server.service import serve

__all__ = ["serve"]
