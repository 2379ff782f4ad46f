"""Tests of ingest, and the faults that must end well.

Ends: *all*: every row stored once, exit 0, in the same run. *again*: the run stops with a clear line, or is
dead, and the same command then ends in all. *dead*: the named rows are in the dead-letter file with their
reason, all others stored, exit 1. *stop*: nothing more sent, exit 3, state kept.

     1  kill -9 of the parent at a random time               again; no orphan after 2 s
     2  kill -9 of a group                                   all
     3  Ctrl-C once                                          again: drained, exit 130
     4  Ctrl-C twice                                         again: at once
     5  ledger's disk full                                   stop, then again
     6  dead letters' disk full                              stop, then again; none lost or doubled
     7  fsync of the ledger fails                            stop, then again
     8  torn last line of the ledger                         again
     9  damaged input                                        stop, naming rows; rows before it stored
    10  two runs on one ledger                               the second: stop
    11  ledger of another input, endpoint or spaces          stop, showing the difference
    12  429 with seconds, a date, an absurd Retry-After      all
    13  bursts of 500, 502, 503, 504                         all
    14  400, 404, 413, 415, 422 poison rows                  dead, those rows alone
    15  401, 403                                             stop at once
    16  reset before, during, after the body                 all
    17  reset after the server has stored                    all, none doubled
    18  keep-alive closed while idle                         all
    19  blackhole                                            all when it recovers, else stop, then again
    20  server gone and back                                 all; stays away: stop, then again
    21  server killed and restarted with its data            all
    22  truncated, malformed, endless, wrong-length answers  all; memory bounded
    23  slow reader, 1 kB/s                                  all, other connections unhindered
    24  a server that lies                                   stop, or exit 1 with the rows named
"""
