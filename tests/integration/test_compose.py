"""docker-compose.yml as Docker Compose reads it, and its command lines and health checks with the real programs."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from exporter.settings.load import load_settings
from exporter.settings.model import declared
from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.demo import port_in
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.compose import CHECKOUT, DEMO_ENV, FILE, compose, passed_on, resolved
from tests.stack.monitoring import Monitoring, binaries_of
from tests.stack.running import Process, environment, exporter_process, metric_in
from tests.stack.waiting import wait_until

MANUAL = (CHECKOUT / "docs" / "docker.md").read_text()

_LOOPBACK = "127.0.0.1"
_LISTENING = re.compile(r'msg="Listening on".* address=(127\.0\.0\.1:\d+)')


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """The file that README tells a user to write."""
    path = tmp_path / "user.env"
    path.write_text("CLIPROXY_MANAGEMENT_KEY=my-key\nGRAFANA_ADMIN_PASSWORD=my-password\n")
    return path


def _services(**given: Any) -> dict[str, Any]:
    services: dict[str, Any] = resolved(**given)["services"]
    return services


# --- what is started, and how it is confined --------------------------------------------------------------------------


def test_the_stack_has_four_services_and_the_demo_has_one_more(env_file: Path) -> None:
    stack = {"exporter", "prometheus", "alertmanager", "grafana"}

    assert set(_services(env_file=env_file)) == stack
    assert set(_services(env_file=DEMO_ENV)) == {*stack, "demo-proxy"}


def test_only_grafana_can_be_reached_and_only_from_this_machine(env_file: Path) -> None:
    published = {
        (name, port["host_ip"], port["published"], port["target"])
        for name, service in _services(env_file=env_file).items()
        for port in service.get("ports", [])
    }

    assert published == {("grafana", _LOOPBACK, "3000", 3000)}


def test_links_follow_another_port_of_grafana(env_file: Path) -> None:
    services = _services(env_file=env_file, GRAFANA_PORT="3210")
    grafana = services["grafana"]

    assert [port["published"] for port in grafana["ports"]] == ["3210"]
    assert grafana["environment"]["GF_SERVER_ROOT_URL"] == "http://localhost:3210"
    assert services["prometheus"]["environment"]["GRAFANA_URL"] == "http://localhost:3210"


def test_users_can_have_their_own_configurations(env_file: Path) -> None:
    own = {"PROMETHEUS_CONFIG": "my-prometheus.yml", "ALERTMANAGER_CONFIG": "my-alertmanager.yml"}
    services = _services(env_file=env_file, **own)

    for name in ("prometheus", "alertmanager"):
        assert f"--config.file=/etc/{name}/my-{name}.yml" in services[name]["command"]


def test_every_service_is_confined_restarts_and_rotates_its_log() -> None:
    for name, service in _services(env_file=DEMO_ENV).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert "privileged" not in service, name


def test_no_service_runs_as_root() -> None:
    for name, service in _services(env_file=DEMO_ENV).items():
        # Our image sets its user: tests/unit/repository/test_dockerfile.py.
        if "build" not in service:
            assert int(service["user"].split(":")[0]) > 0, name


def test_every_foreign_image_is_pinned_to_a_patch_version(env_file: Path) -> None:
    images = {service["image"] for service in _services(env_file=env_file).values() if "build" not in service}

    assert len(images) == 3
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_our_own_image_is_never_pulled_from_a_registry() -> None:
    ours = [service for service in _services(env_file=DEMO_ENV).values() if service["image"] == "cliproxy-exporter"]

    assert [service["pull_policy"] for service in ours] == ["build", "build"]


def test_no_health_check_needs_curl(env_file: Path) -> None:
    checks = {
        name: service.get("healthcheck", {}).get("test") for name, service in _services(env_file=env_file).items()
    }

    assert checks.pop("exporter") is None, "it is in the image"
    assert {name: test[1] for name, test in checks.items()} == {
        "prometheus": "promtool",
        "alertmanager": "amtool",
        "grafana": "wget",
    }


def test_a_stop_gives_the_exporter_the_time_that_it_may_need(env_file: Path) -> None:
    assert _services(env_file=env_file)["exporter"]["stop_grace_period"] == "20s"


def test_every_mounted_folder_is_in_the_repository(env_file: Path) -> None:
    mounts = [
        mount
        for service in _services(env_file=env_file).values()
        for mount in service["volumes"]
        if mount["type"] == "bind"
    ]

    assert len(mounts) == 5
    for mount in mounts:
        assert mount["read_only"] is True
        # Docker would create a missing one, empty and owned by root.
        assert Path(mount["source"]).is_dir(), mount["source"]


def test_the_data_of_every_service_is_in_its_own_volume(env_file: Path) -> None:
    volumes = {
        (name, mount["source"], mount["target"])
        for name, service in _services(env_file=env_file).items()
        for mount in service["volumes"]
        if mount["type"] == "volume"
    }

    assert volumes == {
        ("exporter", "exporter-data", "/data"),
        ("prometheus", "prometheus-data", "/prometheus"),
        ("alertmanager", "alertmanager-data", "/alertmanager"),
        ("grafana", "grafana-data", "/var/lib/grafana"),
    }


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_reaches_the_exporter() -> None:
    listed = yaml.safe_load(FILE.read_text())["services"]["exporter"]["environment"]

    assert {name for setting in declared() for name in setting.names} == set(listed)


def test_every_variable_of_the_file_is_in_the_example() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text()))
    example = re.findall(r"^#?([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), flags=re.MULTILINE)

    assert used - set(example) == set()


def test_the_example_with_its_two_lines_filled_in_starts_the_stack(tmp_path: Path) -> None:
    example = (CHECKOUT / ".env.example").read_text()
    filled, lines = re.subn(r"^([A-Z_]+)=$", r"\1=my-secret", example, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(filled)
    exporter = _services(env_file=tmp_path / ".env")["exporter"]

    loaded = load_settings(passed_on(exporter), cwd=tmp_path / "nowhere")

    assert lines == 2
    assert loaded.problems == []
    assert [warning.setting for warning in loaded.warnings] == ["EXPORTER_HOST"], "open to the stack's own network"
    assert [(proxy.name, proxy.url) for proxy in loaded.require().proxies] == [
        ("default", "http://host.docker.internal:8317")
    ]


def test_the_exporters_container_has_a_name_for_the_host(env_file: Path) -> None:
    assert _services(env_file=env_file)["exporter"]["extra_hosts"] == ["host.docker.internal=host-gateway"]


def test_without_a_password_for_grafana_nothing_starts_and_a_sentence_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.env").write_text("CLIPROXY_MANAGEMENT_KEY=my-key\nGRAFANA_ADMIN_PASSWORD=\n")

    done = compose("config", env_file=tmp_path / "empty.env")

    assert done.returncode != 0
    assert "GRAFANA_ADMIN_PASSWORD is missing a value: choose one and write it into .env" in done.stderr


def test_the_settings_of_the_predecessor_keep_working(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "CLIPROXY_URL=http://cpa.example.com:8317\nCLIPROXY_MANAGEMENT_KEY=my-key\nCOLLECTOR_INTERVAL_SECONDS=300\n"
        "COLLECTOR_TRIGGER_PORT=5001\nTIMEZONE_OFFSET_HOURS=7\nGRAFANA_ADMIN_PASSWORD=my-password\n"
    )
    exporter = _services(env_file=tmp_path / ".env")["exporter"]

    settings = load_settings(passed_on(exporter), cwd=tmp_path / "nowhere").require()

    assert settings.proxies[0].url == "http://cpa.example.com:8317"
    assert (settings.collector_interval_seconds, settings.timezone_offset_hours) == (300, 7)
    assert settings.exporter_port == 9317, "Prometheus asks there"


def test_settings_for_a_run_without_a_container_cannot_break_the_stack(env_file: Path, tmp_path: Path) -> None:
    services = _services(
        env_file=env_file, EXPORTER_HOST="127.0.0.1", EXPORTER_PORT="1234", EXPORTER_DATA_DIR="elsewhere"
    )

    settings = load_settings(passed_on(services["exporter"]), cwd=tmp_path).require()

    assert (settings.exporter_host, settings.exporter_port) == ("0.0.0.0", 9317)  # noqa: S104 - compared, not bound
    assert str(settings.exporter_data_dir) == "/data"


def test_proxies_and_keys_in_files_are_found_below_config(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EXPORTER_CONFIG=config/exporter.yaml\nGRAFANA_ADMIN_PASSWORD=my-password\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/exporter.yaml").write_text(
        "proxies: [{name: home, url: 'http://host.docker.internal:8317', management_key_file: home-key}]\n"
    )
    (tmp_path / "config/home-key").write_text("my-key\n")
    exporter = _services(env_file=tmp_path / ".env")["exporter"]

    loaded = load_settings(passed_on(exporter), cwd=tmp_path)  # as the image's working directory, /app

    assert [mount["target"] for mount in exporter["volumes"]] == ["/data", "/app/config"]
    assert [proxy.name for proxy in loaded.require().proxies] == ["home"]
    assert [warning.setting for warning in loaded.warnings] == ["EXPORTER_HOST"]


def test_the_demo_is_a_separate_project() -> None:
    assert resolved(env_file=DEMO_ENV)["name"] == "cliproxy-demo", "so its volumes are its own"


# --- what docs/docker.md says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL))
def test_an_example_of_the_manual_fits_the_stack(example: str, env_file: Path, tmp_path: Path) -> None:
    (tmp_path / "override.yml").write_text(example)
    done = compose("--file", str(tmp_path / "override.yml"), "config", "--format", "json", env_file=env_file)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]

    assert set(yaml.safe_load(example)["services"]) <= set(services)
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in published} == {_LOOPBACK}


def test_the_manual_lists_the_variables_that_only_the_stack_has() -> None:
    known = {name for setting in declared() for name in setting.names}
    table = re.findall(r"^\| `([A-Z_]+)` \|", MANUAL, flags=re.MULTILINE)

    assert set(table) == set(re.findall(r"\$\{(\w+)", FILE.read_text())) - known


# --- with the real programs -------------------------------------------------------------------------------------------


class _Mapped:
    """A service's paths and programs, translated for use outside a container; its other words stay unchanged."""

    def __init__(self, service: dict[str, Any], *, port: int, workdir: Path, binaries: Monitoring) -> None:
        self._paths = {
            mount["target"]: mount["source"] if mount["type"] == "bind" else str(workdir / mount["source"])
            for mount in service["volumes"]
        }
        self.command = [self._path(word) for word in service["command"]]
        kind, program, *words = service["healthcheck"]["test"]
        assert kind == "CMD", "a shell may not be in the image"
        self._probe = [str({"promtool": binaries.promtool, "amtool": binaries.amtool}[program]), *words]
        self._inside = f"{_LOOPBACK}:{port}"
        assert any(self._inside in word for word in words), "the health check asks another address"

    def _path(self, word: str) -> str:
        for inside, outside in self._paths.items():
            word = re.sub(rf"={re.escape(inside)}(?=/|$)", f"={outside}", word)
        return word

    def is_healthy(self, address: str) -> bool:
        """The verdict of the health check on a server at this address."""
        probe = [word.replace(self._inside, address) for word in self._probe]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextmanager
def _served(program: Path, mapped: _Mapped, *, workdir: Path) -> Iterator[httpx.Client]:
    """Run the program with the service's command line on a free port; yield a client once its health check passes."""
    log = workdir / "log"

    def address() -> str:
        assert process.poll() is None, log.read_text()
        found = _LISTENING.search(log.read_text())
        return found[1] if found else ""

    command = [str(program), *mapped.command, f"--web.listen-address={_LOOPBACK}:0"]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, cwd=workdir) as process:
        try:
            where = wait_until(address)
            wait_until(lambda: mapped.is_healthy(where))
            with loopback.client(base_url=f"http://{where}") as client:
                yield client
        finally:
            process.terminate()
    assert not mapped.is_healthy(where), "the health check is content with a server that has ended"


def test_prometheus_starts_with_this_command_line_and_its_health_check_works(env_file: Path, tmp_path: Path) -> None:
    binaries = binaries_of("3.x")
    service = _services(env_file=env_file)["prometheus"]
    mapped = _Mapped(service, port=9090, workdir=tmp_path, binaries=binaries)

    with _served(binaries.prometheus, mapped, workdir=tmp_path) as client:
        flags = client.get("/api/v1/status/flags").json()["data"]
        config = client.get("/api/v1/status/config").json()["data"]["yaml"]
        rules = client.get("/api/v1/rules").json()["data"]["groups"]

    assert flags["storage.tsdb.retention.time"] == "400d"
    assert flags["storage.tsdb.path"] == str(tmp_path / "prometheus-data")
    assert "exporter:9317" in config
    assert "alertmanager:9093" in config
    assert rules, "the rules are not below the folder that is mounted"


def test_alertmanager_starts_with_this_command_line_and_its_health_check_works(env_file: Path, tmp_path: Path) -> None:
    binaries = binaries_of("3.x")
    service = _services(env_file=env_file)["alertmanager"]
    mapped = _Mapped(service, port=9093, workdir=tmp_path, binaries=binaries)

    with _served(binaries.alertmanager, mapped, workdir=tmp_path) as client:
        status = client.get("/api/v2/status").json()

    assert status["cluster"]["status"] == "disabled"
    assert (tmp_path / "alertmanager-data").is_dir()


def test_the_tests_use_the_major_version_of_prometheus_that_the_stack_starts(env_file: Path) -> None:
    services = _services(env_file=env_file)
    started = {name: services[name]["image"].rpartition(":v")[2] for name in ("prometheus", "alertmanager")}
    tested = binaries_of("3.x")
    said = {
        name: subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        for name, program in (("prometheus", tested.prometheus), ("alertmanager", tested.alertmanager))
    }

    for name, version in started.items():
        line = version.split(".")[0] if name == "prometheus" else ".".join(version.split(".")[:2])
        assert f"version {line}." in said[name].stdout + said[name].stderr, f"{name} {version} is not what is tested"


def test_grafana_finds_prometheus_and_the_dashboards_where_they_are_mounted(env_file: Path) -> None:
    services = _services(env_file=env_file)
    mounts = {mount["target"]: mount["source"] for mount in services["grafana"]["volumes"]}
    provisioning = Path(mounts["/etc/grafana/provisioning"])
    sources = [
        source
        for file in provisioning.glob("datasources/*.y*ml")
        for source in yaml.safe_load(file.read_text())["datasources"]
    ]
    providers = [
        provider
        for file in provisioning.glob("dashboards/*.y*ml")
        for provider in yaml.safe_load(file.read_text())["providers"]
    ]

    assert "http://prometheus:9090" in [source["url"] for source in sources]
    assert [provider["options"]["path"] for provider in providers] == ["/var/lib/grafana/dashboards"]
    assert list(Path(mounts["/var/lib/grafana/dashboards"]).glob("*.json"))


# --- the exporter, as its container starts it -------------------------------------------------------------------------

# Outside its container, the test chooses the address of the web server and the place of the data.
_OF_THE_CONTAINER = {"EXPORTER_HOST", "EXPORTER_PORT", "EXPORTER_DATA_DIR", "CLIPROXY_LOCALHOST"}
_DEMO_PROXY = "http://demo-proxy:8317"


@pytest.fixture
def demo_proxy() -> Iterator[str]:
    """The demo's proxy, started as in its container but on another port; gives its URL."""
    service = _services(env_file=DEMO_ENV)["demo-proxy"]
    assert service["entrypoint"][0] == "python"
    command = [sys.executable, *service["entrypoint"][1:], *service["command"], "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment({})) as process:
        assert process.stdout is not None
        try:
            yield f"http://{_LOOPBACK}:{port_in(process.stdout.readline())}"
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def users_server() -> Iterator[SteeredServer]:
    """A server that stands in for the user's proxy, with a record in its queue, and for the user's Supabase project."""
    with SteeredServer(SteeredProxy(key="my-key", retention_seconds=3600)) as server:
        proxy = server.proxy
        proxy.publish(Traffic(seed=1, zone=proxy.zone, shape=proxy.shape).batch(1, ending=time.time()))
        yield server


@contextmanager
def _exporter(
    directory: Path, server: SteeredServer | None, *, demo_proxy: str = "", **given: Any
) -> Iterator[Process]:
    """The exporter of the stack. The shell names the user's server, if any; ``demo_proxy`` is the demo's."""
    of_the_user = (
        {}
        if server is None
        else {
            "CLIPROXY_URL": server.url,
            "CLIPROXY_MANAGEMENT_KEY": "my-key",
            "SUPABASE_URL": server.url,
            "SUPABASE_SECRET_KEY": "sb_secret_of-mine",
        }
    )
    service = _services(**given, **of_the_user)["exporter"]
    passed = {name: value for name, value in passed_on(service).items() if name not in _OF_THE_CONTAINER}
    settings = {**passed, "EXPORTER_SERIES_BIRTH_SECONDS": "0"}
    arguments = [argument.replace(_DEMO_PROXY, demo_proxy) for argument in service["command"]]
    with exporter_process(directory, arguments=arguments, **settings) as process:
        yield process


def test_the_demo_proxy_lets_another_container_read_it(demo_proxy: str) -> None:
    answer = loopback.get(
        f"{demo_proxy}/v0/management/config",
        # CPA believes this header, and so does the demo: the caller seems to be another machine.
        headers={"Authorization": f"Bearer {MANAGEMENT_KEY}", "X-Forwarded-For": "172.18.0.3"},
    )

    assert answer.status_code == 200, answer.text


def test_the_stack_reads_the_users_proxy(env_file: Path, users_server: SteeredServer, tmp_path: Path) -> None:
    with _exporter(tmp_path, users_server, env_file=env_file) as process:
        wait_until(lambda: process.metric("cliproxy_requests_total", proxy="default"))

    assert users_server.proxy.counts().queued == 0


def test_the_demo_needs_nothing_from_the_user(demo_proxy: str, tmp_path: Path) -> None:
    with _exporter(tmp_path, None, demo_proxy=demo_proxy, env_file=DEMO_ENV) as process:
        wait_until(lambda: process.metric("cliproxy_up", proxy="demo"))


def test_the_demo_shows_figures_and_leaves_the_users_data_alone(
    users_server: SteeredServer, demo_proxy: str, tmp_path: Path
) -> None:
    with _exporter(tmp_path, users_server, demo_proxy=demo_proxy, env_file=DEMO_ENV) as process:
        wait_until(lambda: process.metric("cliproxy_requests_total", proxy="demo"))
        hour = {"kind": "configured", "limit": "hour"}
        wait_until(lambda: process.metric("cliproxy_limit_used_ratio", **hour) is not None)
        metrics = process.get("/metrics").text

    assert users_server.proxy.requests == {}
    assert metric_in(metrics, "cliproxy_up") == 1, "there is no other proxy"
    assert metric_in(metrics, "cliproxy_exporter_history_backlog_records") is None
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo"]
