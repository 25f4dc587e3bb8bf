"""Measures the promises about speed and size: ``python -m benchmarks``. Not part of the installed program."""
