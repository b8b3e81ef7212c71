"""The demo: what exporting spans costs a real service, with the stock processor and with ours.

    python -m loadtests.demo --help

One process drives the load and hosts nothing else, one receives the spans (`gilscope.bench.sink`), and each block of
requests has a fresh server (`loadtests.demo.server`).
"""
