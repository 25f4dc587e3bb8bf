"""A simulated CPA server with invented traffic, for trying the exporter without a proxy and for testing it."""
