"""Versions of CPA from 6.0 on, any of which a steered proxy can play, and the form of accounts in each."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from exporter.simulator.world import Credential

VersionNumber = tuple[int, int, int]

_FIELDS_SINCE: dict[str, VersionNumber] = {
    "auth_index": (6, 3, 56),
    "id_token": (6, 6, 66),
    "next_retry_after": (6, 8, 31),
    "recent_requests": (6, 9, 46),
    "success": (6, 9, 49),
    "failed": (6, 9, 49),
    "project_id": (7, 0, 7),
}


@cache
def version_number(version: str) -> VersionNumber:
    """``v6.9.49`` as numbers, for comparison."""
    major, minor, patch = version.removeprefix("v").split(".")
    return int(major), int(minor), int(patch)


def can_call(version: VersionNumber, credential: Credential) -> bool:
    """Whether the version can send requests to the provider; an older one only lists the file."""
    return credential.provider != "xai" or version >= (7, 1, 0)


def auth_index_at(version: VersionNumber, credential: Credential) -> str:
    """A version's handle: v7.0.0 changed all handles, v6.8.54 those of configured keys."""
    if version >= (7, 0, 0):
        return credential.auth_index
    seed = "old" if credential.kind == "oauth" or version >= (6, 8, 54) else "oldest"
    return hashlib.sha256(f"{seed}:{credential.auth_index}".encode()).hexdigest()[:16]


def auth_file_at(version: VersionNumber, newest: Mapping[str, Any]) -> dict[str, Any]:
    """A version's entry in ``/auth-files``, derived from the newest one's."""
    entry = {name: value for name, value in newest.items() if version >= _FIELDS_SINCE.get(name, (0, 0, 0))}
    if "id_token" in entry and version < (6, 6, 98):
        entry["id_token"] = {name: entry["id_token"][name] for name in ("chatgpt_account_id", "plan_type")}
    # v7.1.0 gives no account type without an account.
    if version < (7, 2, 0) and "email" not in entry:
        entry.pop("account_type", None)
    if version < (6, 3, 14):
        return {name: entry[name] for name in ("email", "modtime", "name", "size", "type") if name in entry}
    return entry


def key_list_at(version: VersionNumber, newest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A version's list of configured keys, derived from the newest one's."""
    for entry in newest:
        for each in (entry, *entry.get("api-key-entries", [])):
            if version < (6, 9, 29):
                each.pop("auth-index", None)
        # Absent in v6.6.96, present in v6.9.49.
        if version < (6, 9, 0):
            entry.pop("disabled", None)
    return newest
