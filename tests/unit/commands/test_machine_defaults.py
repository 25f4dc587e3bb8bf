"""Where the data is, and which time zone applies, if no setting says so."""

from pathlib import Path

import pytest

from exporter.commands.machine_defaults import DataDirectory, announced, find_data_dir, machine_zone, user_data_dir
from exporter.ledger.database import FILE_NAME, DataDirectoryLock


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose data is below ``home``."""
    return {"XDG_DATA_HOME": str(tmp_path / "home")}


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def test_the_data_is_in_the_users_directory(home: dict[str, str], cwd: Path, tmp_path: Path) -> None:
    found = find_data_dir(home, cwd=cwd)
    assert (found.path, found.note) == (tmp_path / "home" / "cliproxy-exporter", None)


@pytest.mark.parametrize(("platform", "below"), [("linux", ".local/share"), ("darwin", "Library/Application Support")])
@pytest.mark.parametrize("given", [{}, {"XDG_DATA_HOME": ""}, {"XDG_DATA_HOME": "relative"}])
def test_each_platform_has_its_place_for_the_data(
    platform: str, below: str, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/srv/me")
    assert user_data_dir(given) == Path("/srv/me") / below / "cliproxy-exporter"


def test_a_user_without_a_home_has_the_data_below_the_working_directory(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert find_data_dir({}, cwd=cwd).path == cwd / "data"


@pytest.mark.parametrize("file", [FILE_NAME, f"demo/{FILE_NAME}"])
def test_a_ledger_in_data_stays_in_use_with_a_note(home: dict[str, str], cwd: Path, file: str) -> None:
    (cwd / "data" / file).parent.mkdir(parents=True)
    (cwd / "data" / file).touch()
    found = find_data_dir(home, cwd=cwd, starts=True)
    assert found.path == cwd / "data"
    assert f"The ledger in {cwd / 'data'} is used;" in str(found.note)


def test_another_programs_folder_named_data_is_left_alone(home: dict[str, str], cwd: Path) -> None:
    (cwd / "data").mkdir()
    (cwd / "data" / "table.csv").touch()
    assert find_data_dir(home, cwd=cwd).path.parent == Path(home["XDG_DATA_HOME"])


def test_the_running_exporters_data_is_found_from_anywhere(home: dict[str, str], cwd: Path, tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path / "elsewhere")
    (cwd / "data").mkdir()
    (cwd / "data" / FILE_NAME).touch()
    with announced(home, tmp_path / "elsewhere", is_demo=False):
        for starts in (True, False):
            found = find_data_dir(home, cwd=cwd, starts=starts)
            assert found.path == tmp_path / "elsewhere"
            assert "running exporter's data directory" in str(found.note)
            assert not found.is_doubtful
    assert find_data_dir(home, cwd=cwd).path == cwd / "data"
    lock.release()


def test_a_killed_exporter_does_not_count_as_running(home: dict[str, str], cwd: Path, tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path / "elsewhere")
    with announced(home, tmp_path / "elsewhere", is_demo=False):
        (left,) = (tmp_path / "home" / "cliproxy-exporter" / "running").iterdir()
        lock.release()
        assert find_data_dir(home, cwd=cwd).path == tmp_path / "home" / "cliproxy-exporter"
        assert not left.exists()


def test_with_several_exporters_a_warning_names_their_directories(
    home: dict[str, str], cwd: Path, tmp_path: Path
) -> None:
    locks = [DataDirectoryLock(tmp_path / name) for name in ("one", "two")]
    folder = tmp_path / "home" / "cliproxy-exporter" / "running"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / name).write_text(f"{tmp_path / name}\n\n")
    found = find_data_dir(home, cwd=cwd)
    assert found.path == tmp_path / "home" / "cliproxy-exporter"
    assert found.is_doubtful
    assert f"{tmp_path / 'one'}, {tmp_path / 'two'}" in str(found.note)
    for lock in locks:
        lock.release()


def test_commands_find_a_running_demo_and_starts_ignore_it(home: dict[str, str], cwd: Path, tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path / "data" / "demo")
    with announced(home, tmp_path / "data" / "demo", is_demo=True):
        found = find_data_dir(home, cwd=cwd)
        assert found.path == tmp_path / "data" / "demo"
        assert "invented" in str(found.note)
        assert found.is_doubtful
        assert found.of_demo
        assert find_data_dir(home, cwd=cwd, starts=True).path == tmp_path / "home" / "cliproxy-exporter"
    lock.release()


def test_a_running_demo_hides_no_ledger_of_the_users_own(home: dict[str, str], cwd: Path, tmp_path: Path) -> None:
    own = tmp_path / "home" / "cliproxy-exporter"
    lock = DataDirectoryLock(own / "demo")
    (own / FILE_NAME).touch()
    with announced(home, own / "demo", is_demo=True):
        assert find_data_dir(home, cwd=cwd) == DataDirectory(own)
    lock.release()


def test_an_exporter_starts_even_if_it_cannot_announce_itself(tmp_path: Path) -> None:
    with announced({"XDG_DATA_HOME": "/proc/nowhere"}, tmp_path, is_demo=False):
        pass


# --- the time zone ----------------------------------------------------------------------------------------------------


def _zone(tmp_path: Path, *, tz: str = "", link: str = "", text: str = "") -> str | None:
    localtime, timezone = tmp_path / "localtime", tmp_path / "timezone"
    if link:
        target = tmp_path / "zoneinfo" / link
        target.parent.mkdir(parents=True)
        target.touch()
        localtime.symlink_to(target)
    if text:
        timezone.write_text(text)
    return machine_zone({"TZ": tz}, localtime=localtime, timezone=timezone)


@pytest.mark.parametrize(
    ("says", "zone"),
    [
        ({}, None),
        ({"link": "Europe/Berlin"}, "Europe/Berlin"),
        ({"link": "Etc/UTC"}, "Etc/UTC"),
        ({"text": "Asia/Ho_Chi_Minh\n"}, "Asia/Ho_Chi_Minh"),
        ({"tz": "America/New_York", "link": "Europe/Berlin"}, "America/New_York"),
        ({"tz": ":America/New_York"}, "America/New_York"),
        ({"tz": "CET-1CEST,M3.5.0,M10.5.0/3", "link": "Europe/Berlin"}, "Europe/Berlin"),
        ({"link": "Not/A_Zone", "text": "Europe/Berlin"}, "Europe/Berlin"),
        ({"tz": "/etc/passwd"}, None),
    ],
)
def test_the_machines_zone_is_the_first_known_name(tmp_path: Path, says: dict[str, str], zone: str | None) -> None:
    assert _zone(tmp_path, **says) == zone
