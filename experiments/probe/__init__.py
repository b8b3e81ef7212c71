"""What the experiments on the probe share.

experiment    one question: its arms, its sizes, its targets; runs the arms interleaved
"""
