"""The embedded, Engram-compatible server: HTTP over one SQLite file, durable before it answers.

The path of one memory: ``incoming`` reads the request, all of it bounded, ``connection`` hands it on in its
turn, ``app`` has ``requests`` check it and pack the embedding, ``gathering`` makes it part of the next
commit, and only when ``writer`` has that on the disk does ``app`` answer 201. Readers (``reading``,
``recall``, ``texts``) run in threads of their own on connections of their own (``store``).
"""

from synthgen.server.service import serve

__all__ = ["serve"]
