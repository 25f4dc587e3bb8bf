"""A simulated CPA server with invented traffic: to try the exporter without a proxy, and to test it."""
