"""Suggested aliases in a file of settings: its old content stays, in whatever form it is written."""

from pathlib import Path

import pytest

from exporter.commands.alias_skeleton import Suggestion, write_suggestions
from exporter.errors import ExporterError, SettingsError
from exporter.settings.load import read_aliases
from exporter.settings.proxies import Aliases

_CLIENT = Suggestion("label", "client-0123456789", "client-1", "client-0123456789, key …ab12")
_ACCOUNT = Suggestion("email", "alice@example.com", "claude-alice", "claude-max-93f1, alice@example.com")


def _write(file: Path, clients: list[Suggestion] | None = None, credentials: list[Suggestion] | None = None) -> int:
    return write_suggestions(
        file,
        clients=[_CLIENT] if clients is None else clients,
        credentials=[_ACCOUNT] if credentials is None else credentials,
    )


def _aliases(file: Path) -> Aliases:
    return read_aliases(file)


def test_a_new_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "exporter.yaml"
    assert _write(file) == 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == (
        "aliases:\n"
        "  clients:\n"
        "    # client-0123456789, key …ab12\n"
        "    - label: client-0123456789\n"
        "      alias: client-1\n"
        "  credentials:\n"
        "    # claude-max-93f1, alice@example.com\n"
        "    - email: alice@example.com\n"
        "      alias: claude-alice\n"
    )


_OTHERS = "# mine\nexporter_port: 9400 # a remark\n"


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="an empty file"),
        pytest.param("# only a comment", id="no line break at the end"),
        pytest.param(_OTHERS, id="no aliases"),
        pytest.param(f"aliases:\n{_OTHERS}", id="empty aliases"),
        pytest.param(f"{_OTHERS}aliases:\n    clients:\n    # nobody yet\n", id="an empty list"),
        pytest.param(f"aliases:\n  clients:\n  - key: k # Kim\n    alias: kim\n\n# then\n{_OTHERS}", id="one list"),
        pytest.param(
            f"aliases:\n   credentials:\n      - {{email: b@example.com, alias: bob}}\n      # last\n{_OTHERS}",
            id="entries on one line",
        ),
        pytest.param("aliases: &all\n  clients:\n  - {key: k, alias: k}\n", id="a mapping with an anchor"),
        pytest.param(
            'aliases:\n  credentials:\n  - alias: "two\n      lines"\n    file: x\n  clients:\n  - {key: k, alias: k}',
            id="a value on two lines, at the end of the file",
        ),
    ],
)
def test_the_old_content_stays(tmp_path: Path, before: str) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text(before)
    file.chmod(0o640)
    known = _aliases(file)
    assert _write(file) == 2
    assert file.stat().st_mode & 0o777 == 0o640
    after = iter(file.read_text().splitlines())
    assert all(line in after for line in before.splitlines()), "a line is gone, or in another place"
    read = _aliases(file)
    assert [each for each in read.clients if each in known.clients] == list(known.clients)
    assert {each.alias for each in read.clients} == {"client-1", *(each.alias for each in known.clients)}
    assert {each.alias for each in read.credentials} == {"claude-alice", *(each.alias for each in known.credentials)}


@pytest.mark.parametrize(
    "before", ["aliases: {clients: [{key: k, alias: kim}]}\n", "{exporter_port: 9400}\n", "aliases: {}\n"]
)
def test_a_file_that_cannot_be_extended_stays_unchanged(tmp_path: Path, before: str) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text(before)
    with pytest.raises(ExporterError, match="aliases cannot be added to"):
        _write(file)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["exporter.yaml"]


def test_a_file_with_mistakes_stays_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text("exporter_prot: 1\n")
    with pytest.raises(SettingsError, match="Did you mean exporter_port"):
        _write(file)
    assert file.read_text() == "exporter_prot: 1\n"


def test_no_name_is_suggested_twice(tmp_path: Path) -> None:
    file = tmp_path / "exporter.yaml"
    file.write_text("aliases:\n  clients:\n  - {key: k, alias: client-2}\n")
    clients = [_CLIENT._replace(value=f"client-{number}") for number in "abc"]
    credentials = [_ACCOUNT._replace(value=f"{name}@example.com") for name in "ab"]
    _write(file, clients, credentials)
    assert [each.alias for each in _aliases(file).clients] == ["client-2", "client-1", "client-3", "client-4"]
    assert [each.alias for each in _aliases(file).credentials] == ["claude-alice", "claude-alice-2"]


@pytest.mark.parametrize(
    "hostile",
    ["a: b #", "- x", "\x1b[31m\nalias: stolen", "'\"", "yes", "0123", "ünïcode 😀", "\u202eevil", "*a", "x" * 200],
)
def test_a_proxys_name_for_an_account_is_only_text(tmp_path: Path, hostile: str) -> None:
    file = tmp_path / "exporter.yaml"
    written = hostile.strip()
    account = Suggestion("file", written, f"claude-{written}", f"claude-1, {written}")
    if not written.isprintable():  # no setting can hold it
        with pytest.raises(ExporterError):
            _write(file, [], [account])
        assert not file.exists()
        return
    assert _write(file, [], [account]) == 1
    (read,) = _aliases(file).credentials
    assert read.file is not None
    assert read.file.get_secret_value() == written
    assert read.alias.startswith("claude-")


def test_what_the_file_names_already_is_not_added_again(tmp_path: Path) -> None:
    file = tmp_path / "exporter.yaml"
    _write(file)
    before = file.read_text()
    assert _write(file) == 0
    assert file.read_text() == before
    other = _ACCOUNT._replace(value="bob@example.com", alias="claude-bob")
    assert _write(file, credentials=[_ACCOUNT, other]) == 1
    assert [each.alias for each in _aliases(file).credentials] == ["claude-alice", "claude-bob"]


def test_nothing_to_add_changes_nothing(tmp_path: Path) -> None:
    assert _write(tmp_path / "none.yaml", [], []) == 0
    assert not (tmp_path / "none.yaml").exists()
