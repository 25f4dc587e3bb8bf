"""The list of all dashboards, and what they share: the same variables, and links to the others.

The panels of ``cliproxy-NAME`` are in ``NAME.py``.
"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from grafana.generator.parts import RED, SOURCE
from grafana.generator.queries import FIRING

TAG = "cliproxy-exporter"
OVERVIEW, LIMITS, ACCOUNTS, TRUST = "cliproxy-overview", "cliproxy-limits", "cliproxy-accounts", "cliproxy-trust"
DASHBOARDS = {OVERVIEW: "Overview", LIMITS: "Limits", ACCOUNTS: "Accounts", TRUST: "Can I trust it?"}
"""The title of each dashboard by its uid; each leads to the others."""


def new_dashboard(uid: str, description: str) -> dashboard.Dashboard:
    """A dashboard with our variables, the annotation of alerts, and links to the others."""
    title = DASHBOARDS[uid]
    made = (
        dashboard.Dashboard(f"CLIProxyAPI: {title[0].lower()}{title[1:]}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .annotation(
            dashboard.AnnotationQuery()
            .name("Firing alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color(RED)
            .expr(FIRING)
            .title_format("{{alertname}}")
            .text_format("{{severity}} {{limit}} {{credential}} {{proxy}}")
            .step("60s")
        )
        .variables(
            [
                dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
                # Our series about a proxy have this label; a plugin's series of the same names do not.
                _choice("proxy", "Proxy", 'label_values(cliproxy_up{proxy!=""}, proxy)').all_value(".+"),
                _choice("provider", "Provider", 'label_values(cliproxy_requests_total{proxy=~"$proxy"}, provider)'),
                _choice("model", "Model", _of_provider("model")),
                _choice("credential", "Credential", _of_provider("credential")),
                _choice("client", "Client", 'label_values(cliproxy_requests_total{proxy=~"$proxy"}, client)'),
            ]
        )
    )
    for other_uid, other_title in DASHBOARDS.items():
        if other_uid != uid:
            made = made.link(_link(other_title, other_uid))
    return made


def _link(title: str, uid: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(models.DashboardLinkType.LINK)
        .url(f"/d/{uid}")
        .icon("dashboard")
        .tooltip(f"{title}, with the same selection and time")
        .include_vars(True)
        .keep_time(True)
    )


def _of_provider(label: str) -> str:
    return f'label_values(cliproxy_requests_total{{proxy=~"$proxy",provider=~"$provider"}}, {label})'


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}", "qryType": 1})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all"))
    )
