"""What the ledger keeps of an unreadable row."""

from exporter.imports.items import misfit
from exporter.normalize.wire_record import Wire, decode_line


def test_a_misfit_is_recognized_and_shows_nothing_of_the_row() -> None:
    one, again, other = (misfit("keeper", {"source": who}) for who in ("a@b.example", "a@b.example", "c@d.example"))

    assert one == again != other
    assert b"a@b.example" not in one.line
    assert isinstance(decode_line(one.line), Wire)  # so that a replay can examine it
