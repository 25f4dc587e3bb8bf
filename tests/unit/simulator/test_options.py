"""The versions that the demo plays, and the handle of a credential in each version of the steered proxy."""

import click
import pytest
from click.testing import CliRunner

from exporter.simulator.options import play_options
from exporter.simulator.world import CREDENTIALS, Credential
from tests.fakes.steered.versions import auth_index_at, version_number


@click.command()
@play_options("--version")
def _play(version: str, upgrade_to: str, **_: object) -> None:
    click.echo(f"{version} {upgrade_to}")


@pytest.mark.parametrize(("text", "version"), [("6.9", "v6.9.49"), ("7.2", "v7.2.140"), ("8", "v8.0.3")])
def test_a_version_is_written_short(text: str, version: str) -> None:
    done = CliRunner().invoke(_play, ["--history-hours", "0", "--version", text, "--upgrade-to", text])
    assert done.output == f"{version} {version}\n"


@pytest.mark.parametrize("text", ["", "6", "newest", "dev", "5.1.0", "9"])
def test_another_version_is_refused_with_the_known_ones(text: str) -> None:
    done = CliRunner().invoke(_play, ["--version", text])
    assert (done.exit_code, "not one of '6.9', '7.2', '8'" in done.output) == (2, True)


def test_only_a_proxy_without_a_queue_has_a_history() -> None:
    assert CliRunner().invoke(_play, ["--history-hours", "6", "--version", "6.9"]).exit_code == 0
    refused = CliRunner().invoke(_play, ["--history-hours", "6"])
    assert (refused.exit_code, "v7.2.140 has a queue" in refused.output) == (2, True)


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda each: each.name)
def test_upgrades_change_the_handles_as_cpa_did(credential: Credential) -> None:
    is_key = credential.kind == "apikey"

    def handle(*version: int) -> str:
        return auth_index_at((version[0], version[1], version[2]), credential)

    assert (handle(6, 8, 53) != handle(6, 8, 54)) is is_key, "the recordings show the same handles of accounts"
    assert handle(6, 8, 54) == handle(6, 10, 9) != handle(7, 0, 0) == handle(7, 2, 140)


def test_versions_compare_as_numbers() -> None:
    assert version_number("v6.10.0") > version_number("v6.9.49")
