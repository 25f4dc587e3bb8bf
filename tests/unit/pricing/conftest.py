import pytest

from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.genai_prices import load_genai_rows
from exporter.pricing.lookup import PriceList, catalogue_ways


@pytest.fixture(scope="session")
def genai() -> PriceList:
    """Only the rows of the package."""
    return PriceList(load_genai_rows(), ways=catalogue_ways)


@pytest.fixture(scope="session")
def catalogue() -> PriceList:
    """All rows that ship with the program."""
    return load_catalogue()
