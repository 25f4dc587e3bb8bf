"""The dashboards as code: ``python -m grafana.generator`` writes ``grafana/dashboards/*.json``."""
