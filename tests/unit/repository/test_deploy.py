"""The files for other ways to run the exporter agree with the program, its image and its rules."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from exporter.settings.load import load_settings
from exporter.settings.model import declared

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
UNIT = (ROOT / "deploy" / "systemd" / "cliproxy-exporter.service").read_text()
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
SETTINGS = {name for setting in declared() for name in setting.names}


def _manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / name).read_text())
    return found


STATEFULSET = _manifest("statefulset.yaml")
POD = STATEFULSET["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_kubernetes_has_the_rules_of_the_stack() -> None:
    shipped = [
        group
        for file in sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]

    assert _manifest("prometheusrule.yaml")["spec"]["groups"] == shipped, "make rules writes them anew"


def test_kubernetes_has_the_scrape_of_the_stack() -> None:
    (endpoint,) = _manifest("servicemonitor.yaml")["spec"]["endpoints"]
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    scrape = config["scrape_configs"][0]

    assert endpoint["interval"] == scrape["scrape_interval"]
    job, instance = endpoint["relabelings"]
    assert job == {"targetLabel": "job", "replacement": scrape["job_name"]}
    names = ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]
    assert instance == {"targetLabel": "instance", "sourceLabels": names, "separator": "/"}


def test_there_is_one_pod_with_a_volume_because_a_queue_has_one_reader() -> None:
    assert STATEFULSET["spec"]["replicas"] == 1
    (volume,) = STATEFULSET["spec"]["volumeClaimTemplates"]
    assert {"name": volume["metadata"]["name"], "mountPath": "/data"} in CONTAINER["volumeMounts"]


def test_the_pod_runs_as_the_user_of_the_image_without_privileges() -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[0]
    context = POD["securityContext"]

    assert (str(context["runAsUser"]), str(context["runAsGroup"]), context["runAsNonRoot"]) == (user, group, True)
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


_MAP = [text for made in _manifest("kustomization.yaml")["configMapGenerator"] for text in made["literals"]]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param({variable["name"] for variable in CONTAINER["env"]}, id="pod"),
        pytest.param({text.partition("=")[0] for text in _MAP}, id="config map"),
    ],
)
def test_the_given_settings_exist(names: set[str]) -> None:
    assert names
    assert names <= SETTINGS


def test_the_settings_of_the_service_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "management-key").write_text("a-management-key\n", encoding="utf-8")
    pairs = re.findall(r"^Environment=(\w+)=(.*)$", UNIT, flags=re.MULTILINE)
    environ = {name: value.replace("%d", str(tmp_path)).replace("%S", str(tmp_path)) for name, value in pairs}

    loaded = load_settings(environ, cwd=tmp_path)

    assert (loaded.problems, loaded.warnings) == ([], [])
    assert [proxy.name for proxy in loaded.require().proxies] == ["default"]


def test_the_image_has_this_version() -> None:
    assert [image["newTag"] for image in _manifest("kustomization.yaml")["images"]] == [__version__]


def test_the_mixin_names_every_dashboard_and_rule_file() -> None:
    mixin = (ROOT / "deploy" / "mixin" / "mixin.libsonnet").read_text()
    rules = [file for folder in ("rules", "optional") for file in (ROOT / "prometheus" / folder).glob("*.yml")]
    shipped = [*(ROOT / "grafana" / "dashboards").glob("*.json"), *rules]

    named = {(ROOT / "deploy" / "mixin" / path).resolve() for path in re.findall(r"import(?:str)? '([^']+)'", mixin)}

    assert named == set(shipped)
    assert mixin.count("groups+: std.parseYaml") == len(rules), "the groups of other mixins stay"


def test_one_setting_makes_all_links_to_the_source() -> None:
    published = SOURCE.removeprefix("https://github.com/")
    files = [*(ROOT / "prometheus" / "rules").glob("*.yml"), *(ROOT / "deploy").rglob("*.*")]

    found = {
        link for file in files for link in re.findall(r"(?:github\.com|ghcr\.io)/([\w.-]+/[\w-]+)", file.read_text())
    }

    assert found == {published}, "scripts/set-source writes them all"


def test_systemd_needs_no_program_that_a_small_debian_lacks() -> None:
    programs = {line.split("=")[1].split()[0] for line in UNIT.splitlines() if line.startswith("Exec")}
    assert programs == {"/opt/cliproxy-exporter/bin/cliproxy-exporter", "/bin/sh"}
