"""Fuzz targets of what parses outside bytes: run with libFuzzer where there is clang, and on seeds everywhere."""
