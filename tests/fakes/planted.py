"""The secrets that the demo proxy plants: none may leave the exporter."""

from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY, ORGANIZATION_ID, SHOWN
from tests.fakes.steered.private import CALLERS, token_of, token_sha256


def secrets() -> list[str]:
    """Every planted value that must not reach a log, a label, the ledger or the history."""
    values = [MANAGEMENT_KEY, ORGANIZATION_ID, "sk-demo-cookie-8841", "sk-demo-proxy-password"]
    for client in CLIENTS:
        values += [client.key]
    for caller in CALLERS.values():
        values += [caller.address, caller.user_agent, *caller.forwarded.split(", ")]
    for credential in SHOWN:
        values += [
            credential.email,
            token_of(credential),
            token_sha256(credential),
            credential.key,
            credential.account_id,
            credential.project_id,
        ]
    return sorted({value for value in values if value})
