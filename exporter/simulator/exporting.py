"""Aliases and limits for an exporter beside the demo proxy, so that a visitor sees names and limits."""

from pathlib import Path

from pydantic import SecretStr

from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from exporter.simulator.world import CLIENTS, SHOWN

LIMITS_FILE = Path(__file__).parent / "limits.yaml"


def demo_aliases() -> Aliases:
    """The names of the demo's clients and credentials."""
    return Aliases(
        clients=tuple(ClientAlias(key=SecretStr(client.key), alias=client.name) for client in CLIENTS),
        credentials=tuple(
            CredentialAlias(key=SecretStr(credential.key), alias=credential.name)
            if credential.key
            else CredentialAlias(file=SecretStr(credential.file_name), alias=credential.name)
            for credential in SHOWN
        ),
    )
