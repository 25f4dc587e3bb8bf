"""The versions of CPA that the demo proxy can play, and people's spellings of them."""

import re

VersionNumber = tuple[int, int, int]

DEFAULT = "v7.2.140"
EXAMPLES = "6.9, v6.6.96, 6.10.8, 7.2.140 or 8"

# The version behind a short name: one with recorded answers where possible.
_SHORT = {
    "6.6": "v6.6.96",
    "6.9": "v6.9.49",
    "6.10": "v6.10.9",
    "7": "v7.2.140",
    "7.0": "v7.0.7",
    "7.1": "v7.1.0",
    "7.2": "v7.2.140",
    "8": "v8.0.3",
    "8.0": "v8.0.3",
}
_NEWEST_MINOR = {6: 10, 7: 2, 8: 0}


def parse_version(text: str) -> str:
    """The full version, such as ``v6.9.49``, from a person's text. Raises ``ValueError`` with the known versions."""
    plain = text.strip().lower().removeprefix("v")
    if plain in _SHORT:
        return _SHORT[plain]
    if re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,4}", plain):
        major, minor, _ = number = version_number(plain)
        if minor <= _NEWEST_MINOR.get(major, -1):
            return "v{}.{}.{}".format(*number)
    short = ", ".join(_SHORT)
    raise ValueError(
        f"{text!r} is no version that the demo can play. It knows {short} and full versions of "
        f"6.0 to 6.10, 7.0 to 7.2 and 8.0, such as v6.9.49."
    )


def has_usage(version: str) -> bool:
    """Whether the version has the cumulative ``/usage``."""
    return version_number(version) < (6, 10, 0)


def version_number(version: str) -> VersionNumber:
    """``v6.9.49`` as numbers to compare."""
    major, minor, patch = version.removeprefix("v").split(".")
    return int(major), int(minor), int(patch)
