"""``make pictures``: retakes the pictures of pages in ``docs/images/`` from the demo, as a visitor sees it.

``pages.json`` beside them names the templates that they show, so that a test notices outdated pictures.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.pages.browser import opened, picture, run_chromium
from tests.stack.running import Process, exporter_process
from tests.stack.waiting import wait_until

_ROOT = Path(__file__).resolve().parents[3]
_TEMPLATES = _ROOT / "exporter" / "web" / "templates"
FOLDER = _ROOT / "docs" / "images"
RECORD = FOLDER / "pages.json"

_USED = "cliproxy_limit_used_ratio"
_Scheme = Literal["light", "dark"]
_OF_DEMO: dict[str, tuple[str, int, _Scheme]] = {
    "busy-desk-light.png": ("/", 1280, "light"),
    "busy-phone-dark.png": ("/", 390, "dark"),
    "usage-desk-light.png": ("/usage", 1280, "light"),
}
_OF_REFUSAL: dict[str, tuple[str, int, _Scheme]] = {"key-refused-desk-dark.png": ("/", 1280, "dark")}


def of_today() -> dict[str, str]:
    """The content of ``pages.json`` if the pictures show the present pages."""
    templates = b"".join(path.read_bytes() for path in sorted(_TEMPLATES.iterdir()))
    pictures = {name: (FOLDER / name).read_bytes() for name in sorted(_OF_DEMO | _OF_REFUSAL)}
    parts = {"templates": templates, **pictures}
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def take_all() -> None:
    """Take all pictures, and write down what they show."""
    _take(["demo", "--seed", "3"], _OF_DEMO, lambda demo: bool(demo.metric(_USED, kind="provider", provider="xai")))
    with SteeredServer(SteeredProxy(key="another-key")) as server:
        _take(["demo", f"--proxy-url={server.url}"], _OF_REFUSAL, lambda demo: demo.metric("cliproxy_up") == 0)
    RECORD.write_text(json.dumps(of_today(), indent=2) + "\n", encoding="utf-8")


def _take(
    arguments: list[str], pictures: dict[str, tuple[str, int, _Scheme]], is_ready: Callable[[Process], bool]
) -> None:
    """Take pictures of what a visitor sees without scrolling, once the demo ``is_ready``."""
    with TemporaryDirectory() as folder, exporter_process(Path(folder), arguments=arguments) as exporter:
        wait_until(lambda: is_ready(exporter))
        with run_chromium() as browser:
            for name, (path, width, scheme) in pictures.items():
                with opened(browser, f"{exporter.url}{path}", width=width, scheme=scheme) as seen:
                    picture(seen.page, FOLDER / name)
        exporter.stop()


if __name__ == "__main__":
    take_all()
