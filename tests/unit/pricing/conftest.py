import pytest

from exporter.pricing.catalogue import GenaiCatalogue, load_genai_catalogue


@pytest.fixture(scope="session")
def genai() -> GenaiCatalogue:
    return load_genai_catalogue()
