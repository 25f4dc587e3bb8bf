"""Prometheus exporter for CLIProxyAPI ("CPA"): durable cost, token and limit metrics."""

from importlib.metadata import version as _version

__version__ = _version("cliproxy-exporter")
