"""A label is listed once: everything that shows, sends, restores, exports and imports usage follows the list."""

from pathlib import Path

from tests.benches.trip import trip

_LABEL = "    model: Text\n"
_LABELS = """
names = [ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of) for ledger in (first, second)]
for shown_names in names:
    print(shown_names.series(1).service_tier)
text, _ = LedgerText(first, names[0]).render(openmetrics=False, for_prometheus=False)
print([line for line in text.splitlines() if line.startswith("cliproxy_requests_total{")])
path = Path(sys.argv[1]) / "export.csv"
with first.reading() as connection, path.open("w", newline="") as file:
    write_csv(connection, names[0], (0, 2**62), file)
print([record.service_tier for record, _ in read_own_csv(path, "p", Names(first, names[0], "p", PSEUDONYMS.of))])
"""


def test_new_label_with_a_field_of_a_record_needs_only_the_list_and_a_migration(tmp_path: Path) -> None:
    listed = f'{_LABEL}    service_tier: Text = ""\n'
    added = "alter table route add column service_tier text not null default '';\n"
    booked, restored, shown, imported = trip(tmp_path, _LABELS, "labels.py", (_LABEL, listed), added)
    assert (booked, restored, imported) == ("priority", "priority", "['priority']")
    assert 'model="claude-sonnet-4-5",service_tier="priority",' in shown
