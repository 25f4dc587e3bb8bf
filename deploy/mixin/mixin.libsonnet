// The rules and dashboards as a monitoring mixin, for monitoring that is built with jsonnet. They stand in prometheus/ and
// grafana/ of this repository: vendor it as a whole.
{
  grafanaDashboards+:: {
    'cliproxy-accounts.json': import '../../grafana/dashboards/cliproxy-accounts.json',
    'cliproxy-limits.json': import '../../grafana/dashboards/cliproxy-limits.json',
    'cliproxy-overview.json': import '../../grafana/dashboards/cliproxy-overview.json',
    'cliproxy-trust.json': import '../../grafana/dashboards/cliproxy-trust.json',
  },
  // groups+, so that the groups of other mixins stay.
  prometheusAlerts+:: { groups+: std.parseYaml(importstr '../../prometheus/rules/alerts.yml').groups },
  prometheusRules+:: { groups+: std.parseYaml(importstr '../../prometheus/rules/recording.yml').groups },
  // Not loaded by itself: add `prometheusRules+:: mixin.openTelemetryRules`.
  openTelemetryRules:: { groups+: std.parseYaml(importstr '../../prometheus/optional/opentelemetry.yml').groups },
}
