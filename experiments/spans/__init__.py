"""What the experiments on span processors share.

    experiment    one question: its arms, its sizes, its targets; runs the arms interleaved, each in a fresh process
    arms          the processors that are compared, behind one interface
    workload      the spans that they are given
    process       what a process says of itself: CPU time of its threads, memory, thread states, cores
    report        the table for the terminal, and the figures in the README files

`python -m experiments.spans` runs all of them.
"""
