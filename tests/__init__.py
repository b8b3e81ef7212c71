"""The tests of gilscope, one folder per kind."""
