"""The reviewed list of CPA's models without a public price: nobody forgot these."""

from collections.abc import Mapping
from importlib import resources

import yaml


def models_without_price() -> Mapping[tuple[str, str], str]:
    """The reasons, by CPA's provider and model."""
    text = resources.files("exporter.pricing").joinpath("without_price.yaml").read_text(encoding="utf-8")
    return {(row["provider"], row["model"]): row["reason"] for row in yaml.safe_load(text)["models"]}
