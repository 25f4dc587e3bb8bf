"""The YAML file: proxies, aliases, and the messages about mistakes, which must not repeat texts with "planted"."""

from pathlib import Path

import pytest

from exporter.settings.load import Loaded, load_settings, read_aliases
from exporter.settings.proxies import Aliases


def _load(directory: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    (directory / "c.yaml").write_text(text, encoding="utf-8")
    return load_settings({"EXPORTER_CONFIG": "c.yaml"} | (environ or {}), cwd=directory)


def test_aliases_are_read_beside_all_settings(tmp_path: Path) -> None:
    settings = "collector_trigger_port: 9400\nexporter_port: [x]\nexporter_token_file: gone\n"
    (tmp_path / "c.yaml").write_text(f"{settings}aliases: {{clients: [{{label: a, alias: b}}]}}\n", encoding="utf-8")
    assert [client.alias for client in read_aliases(tmp_path / "c.yaml").clients] == ["b"]


def test_proxies_and_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("file-key\n", encoding="utf-8")
    loaded = _load(
        tmp_path,
        """
exporter_allowed_hosts: [a.example, b.example]
cliproxy_management_key: own-key
proxies:
  - &home
    name: home
    url: http://home:8317/
    management_key: 0123
  - <<: *home
    name: office
    url: http://office:8317
  - {name: third, url: "http://third", management_key_file: key}
aliases:
  clients:
    - {key: yes, alias: laptop}
    - {key_file: key, alias: ci}
  credentials:
    - {auth_index: 0123456701234567, alias: laptop}
    - {email: someone@example.com, alias: team}
    - {file: x.json, alias: other}
    - {key: upstream, alias: paid}
""",
    )
    settings = loaded.require()
    assert settings.exporter_allowed_hosts == ("a.example", "b.example")
    assert [(proxy.name, proxy.url, proxy.management_key.get_secret_value()) for proxy in settings.proxies] == [
        ("default", "http://localhost:8317", "own-key"),
        ("home", "http://home:8317", "0123"),
        ("office", "http://office:8317", "0123"),
        ("third", "http://third", "file-key"),
    ]
    assert [(client.key and client.key.get_secret_value(), client.alias) for client in settings.aliases.clients] == [
        ("yes", "laptop"),
        ("file-key", "ci"),
    ]
    assert [credential.auth_index for credential in settings.aliases.credentials] == [
        "0123456701234567",
        None,
        None,
        None,
    ]
    assert settings.asked_proxies == []


def test_each_proxy_can_have_its_own_way_of_reading(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        """
cliproxy_source: subscribe
cliproxy_management_key: own-key
proxies:
  - {name: a, url: "http://a", management_key: key}
  - {name: b, url: "http://b", management_key: key, source: Subscribe}
""",
    )
    assert [proxy.source for proxy in loaded.require().proxies] == ["subscribe", "queue", "subscribe"]


def test_questions_to_providers_can_be_turned_on_for_all_proxies_or_for_one(tmp_path: Path) -> None:
    rows = "".join(
        f"- {{name: {name}, url: 'http://{name}', management_key: planted{quotas}}}\n"
        for name, quotas in (("a", ", quotas: Active"), ("b", ", quotas: passive"), ("c", ""))
    )
    for environ, asked in (({}, ["a"]), ({"EXPORTER_QUOTAS": "active"}, ["a", "c"])):
        settings = _load(tmp_path, f"proxies:\n{rows}", environ).require()
        assert [proxy.name for proxy in settings.asked_proxies] == asked


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "aliases:\nexporter_port:\n"])
def test_a_file_that_sets_nothing_is_fine(tmp_path: Path, text: str) -> None:
    settings = _load(tmp_path, text).require()
    assert settings.exporter_port == 9317
    assert settings.aliases == Aliases(), "the demo has aliases of its own where the user has none"


_PROXY = "proxies:\n- {name: a, url: 'http://a', management_key: planted}\n"
_ASKING = "proxies:\n- {name: a, url: 'http://a', management_key: planted, quotas: %s}\n"


@pytest.mark.parametrize(
    ("text", "line", "setting", "says"),
    [
        pytest.param(
            _ASKING % "yes",
            2,
            "proxies[0].quotas",
            "'yes' is not accepted. Use 'passive' or 'active'.",
            id="quotas of a proxy",
        ),
        pytest.param(
            _ASKING % "{a: planted}", 2, "proxies[0].quotas", "quotas is not a single value.", id="a mapping for a word"
        ),
        pytest.param("exporter_prot: 1", 1, "exporter_prot", "Did you mean exporter_port?", id="misspelt"),
        pytest.param("EXPORTER_PORT: 1", 1, "EXPORTER_PORT", "Did you mean exporter_port?", id="capitals"),
        pytest.param(
            "sk-planted-0: 1", 1, "unknown name", "A name is unknown here.", id="a key as a name is not shown"
        ),
        pytest.param("proxys: []", 1, "proxys", "Did you mean proxies?", id="misspelt list"),
        pytest.param("exporter_config: x", 1, "exporter_config", "Set EXPORTER_CONFIG in the env", id="its own path"),
        pytest.param("exporter_port: [1]", 1, "exporter_port", "not a single value", id="list for a value"),
        pytest.param(
            "\nexporter_port: x",
            2,
            "exporter_port",
            "'x' is not accepted. Give a whole number.",
            id="a bad value",
        ),
        pytest.param("a: 1\na: planted", 2, "EXPORTER_CONFIG", "is already in line 1", id="twice the same name"),
        pytest.param("- planted", 1, "EXPORTER_CONFIG", "not a mapping", id="a list"),
        pytest.param("planted", 1, "EXPORTER_CONFIG", "not a mapping", id="a text"),
        pytest.param("a: 1\n\tplanted: 2", 2, "EXPORTER_CONFIG", "may indent. Replace it with spaces.", id="a tab"),
        pytest.param("a: @planted", 1, "EXPORTER_CONFIG", "begins with a character that has a", id="a key with an @"),
        pytest.param("a: 'planted", 1, "EXPORTER_CONFIG", "not YAML", id="an open quote"),
        pytest.param("a: 1\nlog_level: *planted", 2, "EXPORTER_CONFIG", "found undefined alias.", id="undefined alias"),
        pytest.param("log_level: !planted x", 1, "EXPORTER_CONFIG", "tag", id="a tag"),
        pytest.param("log_level: !!python/name:os.system x", 1, "EXPORTER_CONFIG", "tag", id="a Python tag"),
        pytest.param(
            "a: 1\n---\nb: planted", 2, "EXPORTER_CONFIG", "not YAML: found another document.", id="two documents"
        ),
        pytest.param("a: 1\nplanted\nb: 2", 3, "EXPORTER_CONFIG", "could not find expected ':'.", id="no colon"),
        pytest.param("a: 1\nb: planted\x07", 2, "EXPORTER_CONFIG", "control character", id="a control character"),
        pytest.param("[a]: planted", 1, "EXPORTER_CONFIG", "not a plain text", id="a list as a name"),
        pytest.param("<<: {[a]: planted}", 1, "EXPORTER_CONFIG", "not a plain text", id="a list as a merged name"),
        pytest.param("proxies: &a [*a]", 1, "EXPORTER_CONFIG", "contain themselves", id="a list in itself"),
        pytest.param(
            "proxies: []", 1, "proxies", "proxies is empty. Add an entry, or remove the line.", id="no proxies"
        ),
        pytest.param(
            "proxies:", 1, "proxies", "proxies is empty. Add an entry, or remove the line.", id="nothing below proxies"
        ),
        pytest.param("proxies: {a: planted}", 1, "proxies", "not a list", id="a mapping of proxies"),
        pytest.param("proxies: [planted]", 1, "proxies[0]", "not a mapping", id="a text as a proxy"),
        pytest.param(
            "proxies:\n- {url: 'http://a', management_key: planted}", 2, "proxies[0].name", "Add name.", id="no name"
        ),
        pytest.param("proxies:\n- {name: a, management_key: planted}", 2, "proxies[0].url", "Add url.", id="no URL"),
        pytest.param(
            "proxies:\n- name: a\n  url: http://a",
            2,
            "proxies[0].management_key",
            "Add management_key or management_key_file.",
            id="no key",
        ),
        pytest.param(
            _PROXY + "  # b\n- {name: 'b/c', url: 'http://b', management_key: planted}",
            4,
            "proxies[1].name",
            "1 to 64 of the characters",
            id="a bad name",
        ),
        pytest.param(
            _PROXY + f"- {{name: {'n' * 65}, url: 'http://b', management_key: planted}}",
            3,
            "proxies[1].name",
            "1 to 64 of the characters",
            id="a long name",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://b', management_key: planted, source: resp}",
            3,
            "proxies[1].source",
            "'resp' is not accepted. Use 'queue' or 'subscribe'.",
            id="an unknown source",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://planted@b', management_key: planted}",
            3,
            "proxies[1].url",
            "holds user:password@",
            id="a password in the URL",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://b', management_key: planted, management_key_file: x}",
            3,
            "proxies[1].management_key_file",
            "management_key (c.yaml:3) is set too. Set only one of the two.",
            id="key and file",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://b', managment_key: planted, management_key: planted}",
            3,
            "proxies[1].managment_key",
            "Did you mean management_key?",
            id="a misspelt field",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://b', management_key_file: [planted]}",
            3,
            "proxies[1].management_key_file",
            "management_key_file is not a single value. Write one value there.",
            id="a list as the name of a key's file",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://b', management_key: planted, management_key_fil: planted}",
            3,
            "proxies[1].management_key_fil",
            "Did you mean management_key_file?",
            id="a misspelt name of a key's file",
        ),
        pytest.param(
            _PROXY + "- {name: a, url: 'http://b', management_key: planted}",
            3,
            "proxies[1].name",
            "Another one has the same name (c.yaml:2). Use each once.",
            id="one name twice",
        ),
        pytest.param(
            _PROXY + "- {name: b, url: 'http://A:80/', management_key: planted}",
            3,
            "proxies[1].url",
            "Another one has the same url (c.yaml:2). Use each once.",
            id="one server twice",
        ),
        pytest.param("aliases: [planted]", 1, "aliases", "not a mapping", id="a list of aliases"),
        pytest.param("aliases:\n  client: []", 2, "aliases.client", "Did you mean clients?", id="a misspelt kind"),
        pytest.param(
            "aliases:\n  clients: {planted: a}", 2, "aliases.clients", "not a list", id="a mapping of clients"
        ),
        pytest.param(
            "aliases:\n  clients:\n  - alias: a",
            3,
            "aliases.clients[0]",
            "Give exactly one of: key, key_file, label.",
            id="a client without identifier",
        ),
        pytest.param(
            "aliases:\n  clients:\n  - {key: planted, label: client-1, alias: a}",
            3,
            "aliases.clients[0]",
            "It has key and label.",
            id="a client with two identifiers",
        ),
        pytest.param(
            "aliases:\n  clients:\n  - key: planted", 3, "aliases.clients[0].alias", "Add alias", id="no alias"
        ),
        pytest.param(
            "aliases:\n  clients:\n  - {key: planted, alias: a}\n  - {key: planted2, alias: a}",
            4,
            "aliases.clients[1].alias",
            "Another one has the same alias (c.yaml:3).",
            id="one alias for two clients",
        ),
        pytest.param(
            "aliases:\n  clients:\n  - {key: planted, alias: a}\n  - {key: planted, alias: b}",
            4,
            "aliases.clients[1].key",
            "Another one has the same key (c.yaml:3).",
            id="two aliases for one client",
        ),
        pytest.param(
            "aliases:\n  credentials:\n  - {email: planted@x.y, alias: a}\n  - {email: Planted@x.y, alias: b}",
            4,
            "aliases.credentials[1].email",
            "Another one has the same email (c.yaml:3).",
            id="two aliases for one address, in different case",
        ),
        pytest.param(
            "aliases:\n  clients:\n  - {key_file: key, alias: a}\n  - alias: b\n    key_file: key",
            5,
            "aliases.clients[1].key_file",
            "Another one has the same key (c.yaml:3).",
            id="one file for two clients",
        ),
        pytest.param(
            f"aliases:\n  clients:\n  - {{key: planted, alias: {'a' * 101}}}",
            3,
            "aliases.clients[0].alias",
            "a text of 101 characters is not accepted. Give at most 100 characters.",
            id="a long alias",
        ),
        pytest.param(
            'aliases:\n  clients:\n  - {key: planted, alias: "a\\nb"}',
            3,
            "aliases.clients[0].alias",
            "It holds a line break or control character. Remove it.",
            id="a line break in an alias",
        ),
        pytest.param(
            "aliases:\n  credentials:\n  - {alias: a}",
            3,
            "aliases.credentials[0]",
            "Give exactly one of: key, email, file, auth_index, label.",
            id="a credential without identifier",
        ),
        pytest.param(
            "aliases:\n  credentials:\n  - {email: planted@example.com, file: planted, alias: a}",
            3,
            "aliases.credentials[0]",
            "It has email and file.",
            id="a credential with two identifiers",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, text: str, line: int, setting: str, says: str) -> None:
    (tmp_path / "key").write_text("planted", encoding="utf-8")
    loaded = _load(tmp_path, text)
    assert loaded.settings is None
    (problem,) = loaded.problems
    assert (problem.setting, problem.place) == (setting, f"c.yaml:{line}")
    assert says in str(problem)
    assert "planted" not in str(loaded)


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        (
            "{name: default, url: 'http://b', management_key: x}",
            "proxies[0].name (c.yaml:2): Another one has the same name (environment).",
        ),
        (
            "{name: b, url: 'http://127.0.0.1:8317', management_key: x}",
            "proxies[0].url (c.yaml:2): Another one has the same url (environment).",
        ),
    ],
)
def test_a_listed_proxy_must_not_be_the_one_of_the_environment(tmp_path: Path, proxy: str, says: str) -> None:
    loaded = _load(tmp_path, f"proxies:\n- {proxy}", {"CLIPROXY_MANAGEMENT_KEY": "k"})
    (problem,) = loaded.problems
    assert says in str(problem)


def test_a_proxy_in_both_places_is_reported_beside_other_mistakes(tmp_path: Path) -> None:
    file = "proxies:\n- {name: b, url: 'http://127.0.0.1:8317', management_key: x}"
    loaded = _load(tmp_path, file, {"CLIPROXY_MANAGEMENT_KEY": "k", "EXPORTER_PORT": "x"})
    assert [problem.setting for problem in loaded.problems] == ["proxies[0].url", "EXPORTER_PORT"]


def test_a_proxy_with_a_wrong_url_is_compared_with_no_other(tmp_path: Path) -> None:
    file = "proxies:\n- {name: b, url: 'http://127.0.0.1:8317', management_key: x}"
    loaded = _load(tmp_path, file, {"CLIPROXY_MANAGEMENT_KEY": "k", "CLIPROXY_URL": "nothing"})
    assert [problem.setting for problem in loaded.problems] == ["CLIPROXY_URL"]


def test_proxies_of_the_file_do_not_stop_the_demo(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("proxies: [{name: a, url: planted}]\nexporter_port: 9400", encoding="utf-8")
    settings = load_settings({"EXPORTER_CONFIG": "c.yaml"}, cwd=tmp_path, for_demo=True).require()
    assert (settings.proxies, settings.exporter_port) == ((), 9400)


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    (problem,) = load_settings({"EXPORTER_CONFIG": "gone.yaml"}, cwd=tmp_path).problems
    assert (problem.setting, problem.place) == ("EXPORTER_CONFIG", "gone.yaml")
    assert "does not exist" in str(problem)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"a: \xff", "not UTF-8", id="not text"),
        pytest.param(
            None,
            "cannot be read: Is a directory. Let the exporter's user read it, or correct the path in",
            id="a directory",
        ),
    ],
)
def test_unreadable_file_is_a_problem(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content) if content is not None else path.mkdir()
    (problem,) = load_settings({"EXPORTER_CONFIG": "c.yaml"}, cwd=tmp_path).problems
    assert says in str(problem)


def test_all_mistakes_in_rows_are_reported_at_once_beside_good_rows(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        """
proxies:
- {name: a, url: "http://a", management_key: planted}
- {name: "b/c", url: "planted", management_key_file: gone, colour: planted}
- {name: a, url: "http://d", management_key: planted}
aliases:
  clients:
  - {key_file: gone, alias: laptop}
  - {key: planted, alias: laptop}
  credentials:
  - {email: planted@example.com, file: , alias: laptop}
  - {email: planted@example.com}
""",
    )
    assert [(problem.setting, problem.place) for problem in loaded.problems] == [
        ("proxies[1].name", "c.yaml:4"),
        ("proxies[1].url", "c.yaml:4"),
        ("proxies[1].management_key_file", "c.yaml:4"),
        ("proxies[1].unknown name", "c.yaml:4"),
        ("proxies[2].name", "c.yaml:5"),
        ("aliases.clients[0].key_file", "c.yaml:8"),
        ("aliases.credentials[1].alias", "c.yaml:12"),
    ]
    assert "planted" not in str(loaded)
