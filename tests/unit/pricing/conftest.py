import pytest

from exporter.pricing.catalogue import load_catalogue, load_genai_catalogue
from exporter.pricing.lookup import PriceList


@pytest.fixture(scope="session")
def genai() -> PriceList:
    """The rows of the package alone."""
    return load_genai_catalogue()


@pytest.fixture(scope="session")
def catalogue() -> PriceList:
    """All that comes with the program."""
    return load_catalogue()
