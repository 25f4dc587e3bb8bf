"""The pictures in the documentation show the present pages and dashboards."""

import json

from tests.stack.pages import dashboards
from tests.stack.pages.pictures import FOLDER, RECORD, of_today


def test_the_pictures_show_the_present_pages() -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))

    assert recorded == of_today(), "the pages have changed, or a picture was replaced by hand: run make pictures"


def test_the_command_takes_each_picture_of_a_page() -> None:
    pages = {path.name for path in FOLDER.glob("*.png") if not path.name.startswith("dashboard-")}

    assert pages == json.loads(RECORD.read_text(encoding="utf-8")).keys() - {"templates"}


def test_the_pictures_show_the_present_dashboards() -> None:
    recorded = json.loads(dashboards.RECORD.read_text(encoding="utf-8"))

    assert recorded == dashboards.of_today(), "the dashboards have changed: run make dashboard-pictures"
