"""Where settings are read, which source wins, and the messages about unknown names."""

import os
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.settings.load import NO_PROXY, load_settings


def _write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_without_any_settings_the_defaults_are_valid_and_name_no_proxy(tmp_path: Path) -> None:
    loaded = load_settings({}, cwd=tmp_path)
    settings = loaded.require()
    assert (settings.proxies, loaded.warnings, set(loaded.origins.values())) == ((), [], {"default"})
    assert settings.exporter_data_dir == tmp_path / "data"
    assert "CLIPROXY_MANAGEMENT_KEY" in NO_PROXY
    assert "cliproxy-exporter demo" in NO_PROXY


@pytest.mark.parametrize(
    ("texts", "port", "source"),
    [
        pytest.param(("1", "2", "3"), 1, "environment", id="the environment wins"),
        pytest.param((None, "2", "3"), 2, ".env:3", id="then the file .env"),
        pytest.param((None, None, "3"), 3, "conf.yaml:2", id="then the YAML file"),
        pytest.param(("", "", "3"), 3, "conf.yaml:2", id="empty values count as not set"),
        pytest.param(("", "", ""), 9317, "default", id="then the default"),
    ],
)
def test_the_environment_overrides_the_env_file_and_the_yaml_file(
    tmp_path: Path, texts: tuple[str | None, str | None, str], port: int, source: str
) -> None:
    environ, dotenv, yaml = texts
    lines = ["# comment", "", f"export EXPORTER_PORT='{dotenv}'"] if dotenv is not None else []
    _write(
        tmp_path,
        {".env": "\n".join([*lines, "EXPORTER_CONFIG=etc/conf.yaml"]), "etc/conf.yaml": f"---\nexporter_port: {yaml}"},
    )
    loaded = load_settings({} if environ is None else {"EXPORTER_PORT": environ}, cwd=tmp_path)
    assert loaded.require().exporter_port == port
    assert loaded.origins["EXPORTER_PORT"] == source
    assert loaded.origins["EXPORTER_CONFIG"].startswith(".env:")


def test_an_empty_flag_counts_as_not_set(tmp_path: Path) -> None:
    loaded = load_settings({"EXPORTER_DATA_DIR": "mine"}, cwd=tmp_path, flags={"EXPORTER_DATA_DIR": ""})
    assert loaded.require().exporter_data_dir == tmp_path / "mine"


def test_paths_are_below_the_working_directory_or_the_folder_of_the_yaml_file(tmp_path: Path) -> None:
    _write(tmp_path, {"etc/conf.yaml": "exporter_data_dir: store\nexporter_token_file: token", "etc/token": "abc\r\n"})
    settings = load_settings({"EXPORTER_CONFIG": "etc/conf.yaml"}, cwd=tmp_path).require()
    assert settings.exporter_data_dir == tmp_path / "etc" / "store"
    assert settings.exporter_config == tmp_path / "etc" / "conf.yaml"
    assert settings.exporter_token is not None
    assert settings.exporter_token.get_secret_value() == "abc"


@pytest.mark.parametrize(
    "name", ["CLIPROXY_MANAGEMENT_KEY", "SUPABASE_SECRET_KEY", "EXPORTER_TOKEN", "EXPORTER_HASH_KEY"]
)
def test_every_secret_can_come_from_a_file(tmp_path: Path, name: str) -> None:
    _write(tmp_path, {"secret": "\ufeffplanted-0123456789\n"})
    loaded = load_settings({f"{name}_FILE": "secret", "SUPABASE_URL": "https://a.supabase.co"}, cwd=tmp_path)
    if name != "SUPABASE_SECRET_KEY":
        loaded = load_settings({f"{name}_FILE": "secret"}, cwd=tmp_path)
    assert loaded.require().secret_values() == ["planted-0123456789"]


@pytest.mark.parametrize("more", [{}, {"EXPORTER_PORT": "x"}])
def test_a_secret_can_come_through_a_pipe(tmp_path: Path, more: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"planted\n")
    os.close(writer)
    loaded = load_settings({"CLIPROXY_MANAGEMENT_KEY_FILE": f"/dev/fd/{reader}"} | more, cwd=tmp_path)
    os.close(reader)
    assert [problem.setting for problem in loaded.problems] == list(more)
    assert loaded.settings is None or loaded.settings.secret_values() == ["planted"]


def test_urls_for_notices_may_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    _write(tmp_path, {"urls": "json://a\n\njson://b\n"})
    urls = load_settings({"EXPORTER_NOTIFY_URLS_FILE": "urls"}, cwd=tmp_path).require().notify_urls
    assert urls == ["json://a", "json://b"]


@pytest.mark.parametrize(
    ("files", "environ", "says"),
    [
        pytest.param({}, {}, "The file does not exist.", id="missing"),
        pytest.param({"token": "\n"}, {}, "The file is empty.", id="empty"),
        pytest.param({"token/x": ""}, {}, "cannot be read: Is a directory.", id="a directory"),
        pytest.param(
            {"token": "planted\nplanted"}, {}, "It holds a line break or control character. Remove it.", id="two lines"
        ),
        pytest.param(
            {"token": "planted"},
            {"EXPORTER_TOKEN": "planted-too"},
            "EXPORTER_TOKEN (environment) is set too. Set only one of the two.",
            id="both forms",
        ),
    ],
)
def test_a_bad_secret_file_is_refused(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], says: str
) -> None:
    _write(tmp_path, files)
    loaded = load_settings({"EXPORTER_TOKEN_FILE": "token"} | environ, cwd=tmp_path)
    (problem,) = loaded.problems
    assert problem.setting == "EXPORTER_TOKEN_FILE"
    assert says in str(problem)
    assert "planted" not in str(loaded)


def test_a_secret_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00planted")
    (problem,) = load_settings({"EXPORTER_TOKEN_FILE": "token"}, cwd=tmp_path).problems
    assert "not UTF-8" in str(problem)


@pytest.mark.parametrize(
    ("environ", "ports"),
    [
        pytest.param({"EXPORTER_PORT": "1", "COLLECTOR_TRIGGER_PORT": "2"}, None, id="both and different"),
        pytest.param({"EXPORTER_PORT": "1", "COLLECTOR_TRIGGER_PORT": "1"}, 1, id="both and equal"),
    ],
)
def test_the_older_name_of_the_port_works(tmp_path: Path, environ: dict[str, str], ports: int | None) -> None:
    loaded = load_settings(environ, cwd=tmp_path)
    if ports is None:
        (problem,) = loaded.problems
        assert str(problem) == (
            "COLLECTOR_TRIGGER_PORT (environment): It is the older name of EXPORTER_PORT (environment), "
            "which has another value. Set only one of the two."
        )
    else:
        assert loaded.require().exporter_port == ports


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CLIPROXY_MANAGMENT_KEY", "planted", "Did you mean CLIPROXY_MANAGEMENT_KEY?"),
        ("EXPORTER_PROT", "9", "Did you mean EXPORTER_PORT?"),
        ("TIMEZONE_OFFSET", "7", "Did you mean TIMEZONE_OFFSET_HOURS?"),
        ("COLLECTOR_INTERVAL", "7", "Did you mean COLLECTOR_INTERVAL_SECONDS?"),
        ("SUPABASE_SERVICE_ROLE", "planted", "is ignored"),
        ("LOG_LEVLE", "info", "Did you mean LOG_LEVEL?"),
        ("EXPORTR_TOKEN", "planted", "Did you mean EXPORTER_TOKEN?"),
        ("TIME_ZONE", "Europe/Berlin", "Did you mean TIMEZONE?"),
        ("EXPORTER_CONFIG_FILE", "x", "Did you mean EXPORTER_CONFIG?"),
        ("LOG_ZZZZZZZZZZZZZZZZZZ", "x", "If it belongs to another program, ignore this."),
        (
            "EXPORTER_PORT",
            "tcp://10.0.0.1:9317",
            "Kubernetes injects this value because there is a Service named exporter",
        ),
        ("COLLECTOR_TRIGGER_PORT", "tcp://10.0.0.1:80", "Set enableServiceLinks: false in the pod's spec"),
    ],
)
def test_a_doubtful_name_or_value_in_the_environment_gets_a_warning(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    loaded = load_settings({name: value}, cwd=tmp_path)
    assert loaded.require().exporter_port == 9317
    (warning,) = loaded.warnings
    assert (warning.setting, warning.place) == (name, "environment")
    assert says in str(warning)
    assert "planted" not in str(warning)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORTER_PORT_9317_TCP", "tcp://10.0.0.1:9317"),
        ("EXPORTER_PORT_9317_TCP_ADDR", "10.0.0.1"),
        ("EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("EXPORTER_SERVICE_PORT_HTTP", "9317"),
        ("CLIPROXY_PORT", "tcp://10.0.0.1:8317"),
        ("PATH", "/bin"),
        ("LOGNAME", "me"),
        ("exporter_port", "1"),
    ],
)
def test_names_of_other_programs_are_left_alone(tmp_path: Path, name: str, value: str) -> None:
    loaded = load_settings({name: value}, cwd=tmp_path)
    assert loaded.require().exporter_port == 9317
    assert (loaded.warnings, loaded.notes) == ([], [])


def test_the_predecessors_env_file_works_unchanged(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            ".env": "SUPABASE_URL=https://abc.supabase.co\nSUPABASE_PUBLISHABLE_KEY=sb_publishable_x\n"
            "SUPABASE_SECRET_KEY=sb_secret_x\nVITE_SUPABASE_URL=https://abc.supabase.co\n"
            'CLIPROXY_URL="http://localhost:8317/"\nCLIPROXY_MANAGEMENT_KEY=my-key # mine\n'
            "COLLECTOR_INTERVAL_SECONDS=300\nTIMEZONE_OFFSET_HOURS=7\nOAUTH_SYNC_INTERVAL_SECONDS=900\n",
        },
    )
    loaded = load_settings({}, cwd=tmp_path)
    settings = loaded.require()
    assert [(proxy.url, proxy.management_key.get_secret_value()) for proxy in settings.proxies] == [
        ("http://localhost:8317", "my-key"),
    ]
    assert (settings.collector_interval_seconds, settings.timezone_offset_hours) == (300, 7)
    assert loaded.warnings == []
    assert [note.setting for note in loaded.notes] == [
        "SUPABASE_PUBLISHABLE_KEY",
        "VITE_SUPABASE_URL",
        "OAUTH_SYNC_INTERVAL_SECONDS",
    ]


def test_a_bad_line_in_the_env_file_gets_a_warning_that_does_not_quote_it(tmp_path: Path) -> None:
    _write(tmp_path, {".env": "\ufeffEXPORTER_PORT=9400\n\nEXPORTER_TOKEN='planted\nLOG_LEVEL=debug\n"})
    loaded = load_settings({}, cwd=tmp_path)
    assert (loaded.require().exporter_port, loaded.require().log_level) == (9400, "debug")
    (warning,) = loaded.warnings
    assert warning.place == ".env:3"
    assert "planted" not in str(loaded)


def test_env_file_takes_dollars_literally(tmp_path: Path) -> None:
    _write(tmp_path, {".env": "EXPORTER_TOKEN=a${HOME}b$c"})
    assert load_settings({"HOME": "/root"}, cwd=tmp_path).require().secret_values() == ["a${HOME}b$c"]


def test_env_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"EXPORTER_TOKEN=planted\xff")
    (problem,) = load_settings({}, cwd=tmp_path).problems
    assert "not UTF-8" in str(problem)


def test_a_directory_named_like_the_env_file_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert load_settings({}, cwd=tmp_path).problems == []


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"CLIPROXY_URL": "http://a"}, id="no key"),
        pytest.param({"CLIPROXY_URL": "http://a", "CLIPROXY_MANAGEMENT_KEY": " "}, id="an empty key"),
    ],
)
def test_a_url_without_a_key_is_reported_with_the_missing_setting(tmp_path: Path, environ: dict[str, str]) -> None:
    (problem,) = load_settings(environ, cwd=tmp_path).problems
    assert problem.setting == "CLIPROXY_URL"
    assert problem.fix == "Set CLIPROXY_MANAGEMENT_KEY too."


def test_a_url_without_a_key_is_only_noted_if_the_file_lists_proxies(tmp_path: Path) -> None:
    _write(tmp_path, {"c.yaml": "proxies: [{name: office, url: 'http://b', management_key: some-key}]"})
    loaded = load_settings({"EXPORTER_CONFIG": "c.yaml", "CLIPROXY_URL": "http://a"}, cwd=tmp_path)
    assert [proxy.name for proxy in loaded.require().proxies] == ["office"]
    (note,) = loaded.notes
    assert (note.setting, loaded.warnings) == ("CLIPROXY_URL", [])


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    _write(tmp_path, {"c.yaml": "log_format: xml\nnope: 1\n", ".env": "EXPORTER_TOKEN_FILE=missing"})
    environ = {
        "EXPORTER_CONFIG": "c.yaml",
        "CLIPROXY_URL": "nothing",
        "EXPORTER_PORT": "x",
        "SUPABASE_URL": "https://a.supabase.co",
    }
    loaded = load_settings(environ, cwd=tmp_path)
    expected = {
        ("log_format", "c.yaml:1"),
        ("unknown name", "c.yaml:2"),
        ("EXPORTER_TOKEN_FILE", ".env:1"),
        ("CLIPROXY_URL", "environment"),
        ("EXPORTER_PORT", "environment"),
        ("SUPABASE_URL", "environment"),
    }
    assert {(problem.setting, problem.place) for problem in loaded.problems} == expected
    with pytest.raises(SettingsError) as refused:
        loaded.require()
    assert len(str(refused.value).splitlines()) == len(expected)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "exporter.example"])  # noqa: S104
def test_an_open_port_gets_a_warning_that_says_what_others_can_read(host: str, tmp_path: Path) -> None:
    (warning,) = load_settings({"EXPORTER_HOST": host}, cwd=tmp_path).warnings

    assert warning.setting == "EXPORTER_HOST"
    assert "can read usage, costs and labels" in str(warning)


@pytest.mark.parametrize(
    "settings",
    [
        {"EXPORTER_HOST": "127.0.0.1"},
        {"EXPORTER_HOST": "::1"},
        {"EXPORTER_HOST": "localhost"},
        {"EXPORTER_HOST": "0.0.0.0", "EXPORTER_TOKEN": "a-token"},  # noqa: S104
        {"EXPORTER_HOST": "0.0.0.0", "EXPORTER_WEB_CONFIG": "web.yml"},  # noqa: S104
    ],
)
def test_a_protected_port_gets_no_warning(settings: dict[str, str], tmp_path: Path) -> None:
    assert load_settings(settings, cwd=tmp_path).warnings == []


def test_an_unreadable_token_causes_no_warning_of_an_open_port(tmp_path: Path) -> None:
    loaded = load_settings({"EXPORTER_HOST": "::", "EXPORTER_TOKEN_FILE": "missing"}, cwd=tmp_path)
    assert ([problem.setting for problem in loaded.problems], loaded.warnings) == (["EXPORTER_TOKEN_FILE"], [])


def test_an_open_port_is_reported_beside_problems_of_proxies(tmp_path: Path) -> None:
    _write(tmp_path, {"c.yaml": "proxies:\n  - name: a"})
    environ = {"EXPORTER_HOST": "::", "EXPORTER_CONFIG": "c.yaml", "SUPABASE_URL": "https://a.supabase.co"}
    loaded = load_settings(environ, cwd=tmp_path)
    assert {problem.setting for problem in loaded.problems} >= {"proxies[0].url", "SUPABASE_URL"}
    assert [warning.setting for warning in loaded.warnings] == ["EXPORTER_HOST"]


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://localhost:8317", "http://host.docker.internal:8317"),
        ("http://127.0.0.1:8317/base", "http://host.docker.internal:8317/base"),
        ("http://[::1]:8317", "http://host.docker.internal:8317"),
        ("http://localhost", "http://host.docker.internal"),
        ("https://cpa.example.com", "https://cpa.example.com"),
        ("http://cli-proxy-api:8317", "http://cli-proxy-api:8317"),
    ],
)
def test_localhost_may_mean_the_machine_around_a_container(url: str, read: str, tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text(f"proxies: [{{name: other, url: '{url}/other', management_key: a-key}}]")
    settings = {"CLIPROXY_URL": url, "CLIPROXY_MANAGEMENT_KEY": "a-key", "EXPORTER_CONFIG": "conf.yaml"}

    moved = load_settings({**settings, "CLIPROXY_LOCALHOST": "host.docker.internal"}, cwd=tmp_path).require()
    as_given = load_settings(settings, cwd=tmp_path).require()

    assert [proxy.url for proxy in moved.proxies] == [read, f"{read}/other"]
    assert [proxy.url for proxy in as_given.proxies] == [url, f"{url}/other"]


def test_an_ipv6_address_may_mean_localhost(tmp_path: Path) -> None:
    settings = {"CLIPROXY_MANAGEMENT_KEY": "a-key", "CLIPROXY_LOCALHOST": "fd00::1"}
    (proxy,) = load_settings(settings, cwd=tmp_path).require().proxies
    assert proxy.url == "http://[fd00::1]:8317"


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ({}, "Asia/Tokyo"),
        ({"TIMEZONE": "Europe/Berlin"}, "Europe/Berlin"),
        ({"TIMEZONE_OFFSET_HOURS": "2"}, "UTC+02:00"),
    ],
)
def test_the_machines_zone_applies_if_none_is_set(tmp_path: Path, given: dict[str, str], zone: str) -> None:
    loaded = load_settings(given, cwd=tmp_path, machine_zone="Asia/Tokyo")
    assert str(loaded.require().zone) == zone
    assert str(load_settings({}, cwd=tmp_path).require().zone) == "UTC"


def test_the_data_directory_that_was_found_applies_if_none_is_set(tmp_path: Path) -> None:
    found = tmp_path / "found"
    assert load_settings({}, cwd=tmp_path, data_dir=found).require().exporter_data_dir == found
    given = load_settings({"EXPORTER_DATA_DIR": "mine"}, cwd=tmp_path, data_dir=found)
    assert given.require().exporter_data_dir == tmp_path / "mine"
