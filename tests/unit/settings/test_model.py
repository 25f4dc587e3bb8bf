"""The values that each setting accepts, and the messages about others."""

import base64
import datetime
import json
from pathlib import Path
from typing import get_args

import pytest
from annotated_types import Ge
from pydantic import SecretStr, ValidationError

from exporter.settings.load import load_settings
from exporter.settings.model import Settings
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias, ProxySettings

KEY = {"CLIPROXY_MANAGEMENT_KEY": "planted-key"}
SUPABASE = {"SUPABASE_URL": "https://abc.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_planted"}


def _anon_token() -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"role": "anon"}).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("COLLECTOR_INTERVAL_SECONDS", "300", "collector_interval_seconds", 300),
        ("COLLECTOR_INTERVAL_SECONDS", "1", "collector_interval_seconds", 1),
        ("TIMEZONE", "Asia/Ho_Chi_Minh", "timezone", "Asia/Ho_Chi_Minh"),
        ("TIMEZONE_OFFSET_HOURS", "7", "timezone_offset_hours", 7.0),
        ("TIMEZONE_OFFSET_HOURS", "-3.5", "timezone_offset_hours", -3.5),
        ("TIMEZONE_OFFSET_HOURS", "+5.75", "timezone_offset_hours", 5.75),
        ("TIMEZONE_OFFSET_HOURS", "14", "timezone_offset_hours", 14.0),
        ("EXPORTER_HOST", "0.0.0.0", "exporter_host", "0.0.0.0"),  # noqa: S104  # the container image sets it
        ("EXPORTER_HOST", "::1", "exporter_host", "::1"),
        ("EXPORTER_HOST", f"{'a' * 63}.{'b' * 63}.example", "exporter_host", f"{'a' * 63}.{'b' * 63}.example"),
        ("EXPORTER_PORT", " 9400 ", "exporter_port", 9400),
        ("EXPORTER_PORT", "0", "exporter_port", 0),
        ("EXPORTER_PORT", "65535", "exporter_port", 65535),
        ("COLLECTOR_TRIGGER_PORT", "5001", "exporter_port", 5001),
        ("EXPORTER_DATA_DIR", "/var/lib/exporter", "exporter_data_dir", Path("/var/lib/exporter")),
        ("EXPORTER_ALLOWED_HOSTS", "A.example, [::1],,a.example", "exporter_allowed_hosts", ("a.example", "::1")),
        ("EXPORTER_PRICES_REFRESH", "false", "exporter_prices_refresh", False),
        ("EXPORTER_PRICES_REFRESH", "Yes", "exporter_prices_refresh", True),
        (
            "EXPORTER_PRICES_URL",
            "https://Mirror.example/p.json",
            "exporter_prices_url",
            "https://mirror.example/p.json",
        ),
        ("EXPORTER_PRICES_URL", "https://mirror.example/p/", "exporter_prices_url", "https://mirror.example/p/"),
        ("EXPORTER_MAX_LABEL_SETS", "1", "exporter_max_label_sets", 1),
        ("EXPORTER_SERIES_BIRTH_SECONDS", "0", "exporter_series_birth_seconds", 0),
        ("LOG_LEVEL", "INFO", "log_level", "info"),
        ("LOG_LEVEL", "warn", "log_level", "warning"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
    ],
)
def test_a_good_value_is_accepted(tmp_path: Path, name: str, text: str, field: str, value: object) -> None:
    settings = load_settings({name: text}, cwd=tmp_path).require()
    assert getattr(settings, field) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("COLLECTOR_INTERVAL_SECONDS", "0", "'0' is not accepted. Give 1 or more."),
        ("COLLECTOR_INTERVAL_SECONDS", "5m", "'5m' is not accepted. Give a whole number."),
        ("COLLECTOR_INTERVAL_SECONDS", "1.5", "'1.5' is not accepted. Give a whole number."),
        ("COLLECTOR_INTERVAL_SECONDS", "9" * 5000, "a text of 5000 characters is not accepted."),
        ("TIMEZONE", "Europe/Berlim", "Did you mean Europe/Berlin?"),
        ("TIMEZONE", "../../etc/passwd", "is not a time zone"),
        ("TIMEZONE", "America", "is not a time zone"),
        ("TIMEZONE", "Asia/Beijing", "Use a name such as Europe/Berlin or Asia/Shanghai."),
        ("TIMEZONE", "Asia/Shangai", "Did you mean Asia/Shanghai?"),
        ("TIMEZONE", "BST", "Use a name such as Europe/Berlin or Asia/Shanghai."),
        ("TIMEZONE", "CEST", "Use a name such as Europe/Berlin or Asia/Shanghai."),
        ("TIMEZONE", "UTCC", "Did you mean UTC?"),
        ("TIMEZONE", "utc", "Did you mean UTC?"),
        ("TIMEZONE", "Rome", "Did you mean Europe/Rome?"),
        ("TIMEZONE", "europe/berlin", "Did you mean Europe/Berlin?"),
        ("TIMEZONE", "Europ/Berlin", "Did you mean Europe/Berlin?"),
        ("TIMEZONE", "New_York", "Did you mean America/New_York?"),
        ("TIMEZONE", "UTC+7", "An offset from UTC goes into TIMEZONE_OFFSET_HOURS"),
        ("TIMEZONE_OFFSET_HOURS", "7.1", "Give a multiple of 0.25."),
        ("TIMEZONE_OFFSET_HOURS", "14.25", "Give 14 or less."),
        ("TIMEZONE_OFFSET_HOURS", "-12.25", "Give -12 or more."),
        ("TIMEZONE_OFFSET_HOURS", "nan", "Give a number."),
        ("TIMEZONE_OFFSET_HOURS", "5:30", "Give a number."),
        ("EXPORTER_HOST", "http://localhost", "not an IP address or a host name"),
        ("EXPORTER_HOST", "[::1]", "without port and brackets"),
        ("EXPORTER_HOST", f"a.{'b' * 64}.example", "not an IP address or a host name"),
        ("EXPORTER_PRICES_URL", f"https://{'a' * 64}/list.json", "not a URL with a valid host and port"),
        ("EXPORTER_HOST", "*", "0.0.0.0 for all interfaces"),
        ("EXPORTER_PORT", "65536", "'65536' is not accepted. Give 65535 or less."),
        ("EXPORTER_PORT", "-1", "'-1' is not accepted. Give 0 or more."),
        ("EXPORTER_PORT", "٩٣١٧", "Give a whole number."),
        ("EXPORTER_DATA_DIR", "~/data", "only a shell expands"),
        ("EXPORTER_CONFIG", "~/config.yaml", "only a shell expands"),
        ("EXPORTER_ALLOWED_HOSTS", "a.example,https://b.example", "not a plain host name"),
        ("EXPORTER_ALLOWED_HOSTS", "a.example:8080", "without http://, port, path or *"),
        ("EXPORTER_ALLOWED_HOSTS", "*.example", "without http://, port, path or *"),
        ("EXPORTER_PRICES_FILE", "~/prices.yaml", "only a shell expands"),
        ("EXPORTER_PRICES_REFRESH", "daily", "'daily' is not accepted. Use true or false."),
        ("EXPORTER_PRICES_URL", "llm-prices.com", "does not start with http:// or https://"),
        ("EXPORTER_PRICES_URL", "https://planted:planted@host/", "an address that needs no password"),
        ("EXPORTER_MAX_LABEL_SETS", "0", "'0' is not accepted. Give 1 or more."),
        ("EXPORTER_SERIES_BIRTH_SECONDS", "9" * 400, "Give 999999999 or less."),
        ("FALSE_START_COST_USD", "1e300", "'1e300' is not accepted. Give 999999999 or less."),
        ("EXPORTER_HASH_KEY", "short-planted", "shorter than 16 characters"),
        ("SUPABASE_URL", "http://planted\udcff@a", "supabase_url is not UTF-8 text. Save it as UTF-8."),
        ("EXPORTER_TOKEN", "planted\nsecond", "It holds a line break or control character. Remove it."),
        ("LOG_LEVEL", "verbose", "Use 'debug', 'info', 'warning' or 'error'."),
        ("LOG_FORMAT", "xml", "Use 'logfmt' or 'json'."),
        ("SUPABASE_URL", "abc.supabase.co", "Write it like http://localhost:8317 or https://example.com."),
    ],
)
def test_a_bad_value_is_refused_with_what_to_do(tmp_path: Path, name: str, text: str, says: str) -> None:
    loaded = load_settings({name: text}, cwd=tmp_path)
    assert loaded.settings is None
    (problem,) = loaded.problems
    assert (problem.setting, problem.place) == (name, "environment")
    assert says in str(problem)
    assert "planted" not in str(problem)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8317/", "http://localhost:8317"),
        ("http://LocalHost:8317", "http://localhost:8317"),
        ("https://example.com/cpa//", "https://example.com/cpa"),
        ("https://example.com/v2", "https://example.com/v2"),
        ("http://[::1]:8317", "http://[::1]:8317"),
        ("http://cli_proxy:8317", "http://cli_proxy:8317"),
    ],
)
def test_a_proxy_url_is_normalized(tmp_path: Path, url: str, base: str) -> None:
    (proxy,) = load_settings(KEY | {"CLIPROXY_URL": url}, cwd=tmp_path).require().proxies
    assert (proxy.name, proxy.url, proxy.management_key.get_secret_value()) == ("default", base, "planted-key")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8317", "does not start with http:// or https://"),
        ("ftp://localhost", "does not start with http:// or https://"),
        ('"http://localhost:8317"', "It has quotation marks around it"),
        ("“http://localhost:8317”", "It has quotation marks around it"),
        ("http://", "not a URL with a valid host and port"),
        ("http://:8317", "not a URL with a valid host and port"),
        ("http://[::1", "not a URL with a valid host and port"),
        ("http://host:99999", "not a URL with a valid host and port"),
        ("http://host:0", "not a URL with a valid host and port"),
        ("http://ho st", "not a URL with a valid host and port"),
        ("http://host\tx", "not a URL with a valid host and port"),
        ("http://planted:planted@host", "CPA would take that as the management key"),
        ("http://host/?key=planted", "has a query or a fragment"),
        ("http://host/#planted", "has a query or a fragment"),
        ("http://host/v0/management", "Write http://host."),
        ("http://host/a/v8/management/", "Write http://host/a."),
        ("http://host/v0/management/usage-queue", "Write http://host."),
        ("http://host:8317/management.html", "Write http://host:8317."),
        (
            "http://host:8317/v1",
            "It names one of the proxy's APIs or a page, not the proxy itself. Write http://host:8317.",
        ),
        ("http://host/a/v1beta/", "Write http://host/a."),
    ],
)
def test_a_bad_proxy_url_is_refused_with_what_to_do(tmp_path: Path, url: str, says: str) -> None:
    loaded = load_settings(KEY | {"CLIPROXY_URL": url}, cwd=tmp_path)
    (problem,) = loaded.problems
    assert problem.setting == "CLIPROXY_URL"
    assert says in str(problem)
    assert "planted" not in str(loaded)


def test_the_hash_from_the_proxys_configuration_is_not_the_key(tmp_path: Path) -> None:
    loaded = load_settings({"CLIPROXY_MANAGEMENT_KEY": "$2a$10$" + "planted" * 7 + "abcd"}, cwd=tmp_path)
    (problem,) = loaded.problems
    assert "the hash that CPA writes back to its config.yaml" in str(problem)
    assert "planted" not in str(problem)


@pytest.mark.parametrize("key", ['"planted"', "'planted'", "“planted”", "\u2018planted\u2019"])
def test_a_management_key_in_quotation_marks_is_refused_before_it_costs_a_login(tmp_path: Path, key: str) -> None:
    loaded = load_settings({"CLIPROXY_MANAGEMENT_KEY": key}, cwd=tmp_path)
    (problem,) = loaded.problems
    assert "It has quotation marks around it, which would be part of the value. Remove them." in str(problem)
    assert "planted" not in str(problem)


def test_a_token_in_quotation_marks_is_refused(tmp_path: Path) -> None:
    (problem,) = load_settings({"EXPORTER_TOKEN": '"planted-secret-of-a-test"'}, cwd=tmp_path).problems
    assert problem.setting == "EXPORTER_TOKEN"
    assert "It has quotation marks around it, which would be part of the value. Remove them." in str(problem)
    assert "planted" not in str(problem)


def test_a_hash_key_keeps_its_quotation_marks_because_without_them_everything_would_be_renamed(tmp_path: Path) -> None:
    key = '"a-key-of-16-letters"'
    settings = load_settings({"EXPORTER_HASH_KEY": key}, cwd=tmp_path).settings
    assert settings is not None
    assert settings.exporter_hash_key is not None
    assert settings.exporter_hash_key.get_secret_value() == key


@pytest.mark.parametrize(
    ("given", "setting", "says"),
    [
        pytest.param({"SUPABASE_URL": "https://a.supabase.co"}, "SUPABASE_URL", "SUPABASE_SECRET_KEY", id="no key"),
        pytest.param({"SUPABASE_SECRET_KEY": "sb_secret_planted"}, "SUPABASE_SECRET_KEY", "SUPABASE_URL", id="no URL"),
        pytest.param(
            SUPABASE | {"SUPABASE_SECRET_KEY": "sb_publishable_planted"},
            "SUPABASE_SECRET_KEY",
            "may not write",
            id="the publishable key",
        ),
        pytest.param(
            SUPABASE | {"SUPABASE_SECRET_KEY": _anon_token()},
            "SUPABASE_SECRET_KEY",
            "may not write",
            id="the old token of anon",
        ),
        pytest.param(
            SUPABASE | {"SUPABASE_SECRET_KEY": "sb_secret_planted••••••"},
            "SUPABASE_SECRET_KEY",
            "until it is revealed",
            id="a key with dots in place of its end",
        ),
        pytest.param(
            SUPABASE | {"SUPABASE_SECRET_KEY": '"sb_secret_planted"'},
            "SUPABASE_SECRET_KEY",
            "It has quotation marks around it",
            id="a key in quotes",
        ),
        pytest.param(
            SUPABASE | {"SUPABASE_URL": "https://a.supabase.co/rest/v1/"},
            "SUPABASE_URL",
            "Write https://a.supabase.co.",
            id="the URL of its API",
        ),
    ],
)
def test_bad_supabase_settings_are_refused(tmp_path: Path, given: dict[str, str], setting: str, says: str) -> None:
    (problem,) = load_settings(given, cwd=tmp_path).problems
    assert problem.setting == setting
    assert says in str(problem)
    assert "planted" not in str(problem)


def test_a_good_supabase_project_is_accepted_silently(tmp_path: Path) -> None:
    loaded = load_settings(SUPABASE | {"SUPABASE_URL": "https://abc.supabase.co/"}, cwd=tmp_path)
    assert loaded.require().supabase_url == "https://abc.supabase.co"
    assert (loaded.warnings, loaded.notes) == ([], [])


@pytest.mark.parametrize(
    ("given", "winter", "summer", "warned"),
    [
        pytest.param({}, 0, 0, False, id="UTC by default"),
        pytest.param({"TIMEZONE": "Europe/Berlin"}, 1, 2, False, id="a zone with daylight saving"),
        pytest.param({"TIMEZONE_OFFSET_HOURS": "-3.5"}, -3.5, -3.5, False, id="a fixed offset"),
        pytest.param({"TIMEZONE": "Europe/Berlin", "TIMEZONE_OFFSET_HOURS": "1"}, 1, 2, True, id="the zone wins"),
        pytest.param({"TIMEZONE": "Asia/Ho_Chi_Minh", "TIMEZONE_OFFSET_HOURS": "7"}, 7, 7, False, id="both the same"),
        pytest.param({"TIMEZONE": "UTC", "TIMEZONE_OFFSET_HOURS": "7"}, 0, 0, True, id="UTC said on purpose"),
    ],
)
def test_the_zone_comes_from_its_name_or_its_offset(
    tmp_path: Path, given: dict[str, str], winter: float, summer: float, warned: bool
) -> None:
    loaded = load_settings(given, cwd=tmp_path)
    zone = loaded.require().zone
    for month, hours in ((1, winter), (7, summer)):
        offset = datetime.datetime(2026, month, 1, tzinfo=zone).utcoffset()
        assert offset == datetime.timedelta(hours=hours)
    assert [warning.setting for warning in loaded.warnings] == (["TIMEZONE_OFFSET_HOURS"] if warned else [])


def test_no_text_of_settings_shows_a_secret() -> None:
    planted = ["planted-management", "planted-token", "planted-hash-key-0", "sb_secret_planted", "planted-client"]
    planted += ["planted-upstream", "planted@example.com", "planted-file.json"]
    settings = Settings(
        proxies=(ProxySettings(name="a", url="http://a", management_key=SecretStr(planted[0])),),
        exporter_token=SecretStr(planted[1]),
        exporter_hash_key=SecretStr(planted[2]),
        supabase_secret_key=SecretStr(planted[3]),
        aliases=Aliases(
            clients=(ClientAlias(key=SecretStr(planted[4]), alias="one"),),
            credentials=(
                CredentialAlias(key=SecretStr(planted[5]), alias="two"),
                CredentialAlias(email=SecretStr(planted[6]), alias="three"),
                CredentialAlias(file=SecretStr(planted[7]), alias="four"),
            ),
        ),
    )
    assert "planted" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert sorted(settings.secret_values()) == sorted(planted)
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"exporter_token": "planted\n2", "planted": 1, "supabase_url": "http://planted@x"})
    assert "planted" not in str(refused.value).replace("\nplanted\n", "\n")  # the name of the unknown field


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().exporter_port = 1


def test_each_number_has_a_lower_bound_for_the_message_about_others() -> None:
    fields = Settings.model_fields.items()
    numbers = [
        (name, each.metadata) for name, each in fields if {int, float} & {each.annotation, *get_args(each.annotation)}
    ]
    assert [name for name, _ in numbers] == [
        name for name, bounds in numbers if any(isinstance(each, Ge) for each in bounds)
    ]
    assert len(numbers) == 7
