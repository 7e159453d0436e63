"""Measurements, one question to a file: `python -m benchmarks.NAME` prints a table and one line of JSON.

What is measured is the client's own cost: CPU time of its process per action, wall time beside it, as medians over
rounds that are interleaved, so that a machine that slows down slows everybody. Read the ratios: they are taken within
one run. The server runs in a process of its own and does as little as a server can.
"""
