"""What runs the experiments with `gilscope bench`: `python -m experiments.bench e01` writes that one's answer."""
