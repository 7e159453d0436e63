"""Measurements, one question to a file: `python -m benchmarks.NAME` prints a table and one line of JSON.

`push` asks what the client itself costs: CPU time of its process per action, wall time beside it, as medians over
rounds that are interleaved, so that a machine that slows down slows everybody. Read the ratios: they are taken within
one run. The server runs in a process of its own and does as little as a server can.

`soak` and `repeats` ask what is true afterwards, of this package and of others, when the service fails: their figures
are effects in a sandbox's ledger, and their time is virtual. Each says what it does not show.
"""
