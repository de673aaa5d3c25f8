"""A real headless Chromium, driven over its DevTools protocol: enough of it to click, look and keep a screenshot."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from websockets.sync.client import connect

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--no-proxy-server", "--remote-debugging-port=0", "--hide-scrollbars",
    "--disable-dev-shm-usage",
)  # fmt: skip


def chromium() -> str | None:
    """Path of a Chromium or Chrome, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def wait_for(question: Callable[[], Any], seconds: float = 60.0, pause: float = 0.2) -> Any:
    """The first true answer to ``question``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = question()
        if answer is not None and answer is not False:
            return answer
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds:g} s in vain")


class Browser:
    """One page of one Chromium."""

    def __init__(self, profile: Path, width: int = 960, height: int = 720) -> None:
        program = chromium()
        assert program is not None
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.exists() and len(port_file.read_text().splitlines()) == 2)
        port = port_file.read_text().splitlines()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def page() -> str | None:
            targets = json.load(opener.open(f"http://127.0.0.1:{port}/json"))
            return next((t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page"), None)

        self.socket = connect(wait_for(page), max_size=None, proxy=None)
        self.numbers = itertools.count(1)

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=10)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; events that come in between are dropped."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, address: str) -> None:
        self.call("Page.enable")
        self.call("Page.navigate", url=address)

    def text(self) -> str:
        """Everything that is written on the page."""
        return self.run("document.body ? document.body.innerText : ''") or ""

    def screenshot(self, file: Path | None = None, clip: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """The page as it looks, RGB; of ``clip`` = x, y, width, height only. Kept as PNG in ``file``."""
        options: dict[str, Any] = {}
        if clip is not None:
            options["clip"] = {**dict(zip(("x", "y", "width", "height"), clip)), "scale": 1}
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"])
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def box(self, find: str) -> tuple[float, float, float, float]:
        """x, y, width and height of the element that the JavaScript expression ``find`` returns, scrolled into sight."""
        answer = self.run(
            f"(() => {{ const e = {find}; if (!e) return null; e.scrollIntoView({{block: 'center'}}); "
            "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )
        assert answer is not None, f"nothing on the page is {find}: {self.text()}"
        return tuple(answer)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_button(self, label: str) -> None:
        """The visible button whose text is ``label``."""
        find = (
            f"[...document.querySelectorAll('button, label')].find(b => b.innerText.trim() === {json.dumps(label)} "
            "&& b.offsetParent)"
        )
        x, y, width, height = self.box(find)
        self.click(x + width / 2, y + height / 2)

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def widget(self, label: str, kind: str) -> str:
        """JavaScript for the ``kind`` (a CSS selector) in the row of a panel that is labelled ``label``."""
        return (
            f"(() => {{ let e = [...document.querySelectorAll('*')].find(x => x.childElementCount === 0 && x.offsetParent "
            f"&& x.textContent.trim() === {json.dumps(label)}); "
            f"while (e && !e.querySelector({json.dumps(kind)})) e = e.parentElement; "
            f"return e && e.querySelector({json.dumps(kind)}); }})()"
        )

    def click_on(self, find: str, x_share: float = 0.5) -> None:
        """Click into the element that a JavaScript expression returns."""
        x, y, width, height = self.box(find)
        self.click(x + width * x_share, y + height / 2)

    def open_folder(self, label: str) -> None:
        self.click_on(
            f"[...document.querySelectorAll('*')].find(x => x.offsetParent && [...x.childNodes].some(n => n.nodeType === 3 "
            f"&& n.textContent.trim() === {json.dumps(label)}))"
        )

    def choose(self, label: str, option: str) -> None:
        """Take ``option`` in the drop-down that is labelled ``label``."""
        self.click_on(self.widget(label, "input"))
        option_find = (
            f"[...document.querySelectorAll('[role=option], .mantine-Select-option')].find(o => o.offsetParent "
            f"&& o.innerText.trim() === {json.dumps(option)})"
        )
        wait_for(lambda: self.run(f"!!{option_find}"), 10)
        time.sleep(0.3)  # it slides in
        self.click_on(option_find)
