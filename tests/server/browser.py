"""A real browser, driven over the DevTools protocol through a pipe: what a person would see and do.

Protocol: https://chromedevtools.github.io/devtools-protocol/ (messages are JSON, each ended by a NUL).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
_POLL_S = 0.05
_FIRST_FREE_FD = 20  # the child's 3 and 4, where the browser looks for the pipe, must be neither of ours

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the user of a container may not make one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-pipe",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a headless browser; ``complaints`` holds what its console said, policy breaches too."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of one command of the protocol."""
        answer = self._send(method, **parameters)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._receive()
            self._note(answer)
            if answer.get("id") == self._number:
                return answer

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], PATIENCE_S)
            part = os.read(self._from, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        details = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.complaints.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return _value(answer)

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true.

        It may fail till then: of a page that is being loaded not all parts are there, and what is asked of
        one that is being left has no answer.
        """
        end, script = time.monotonic() + PATIENCE_S, f"Boolean({condition})"
        while True:
            answer = self._send("Runtime.evaluate", expression=script, returnByValue=True)
            if not _fault(answer) and _value(answer):
                return
            if time.monotonic() > end:
                raise AssertionError(f"never true: {condition}\n{_fault(answer)}\n{self.text('body')}")
            time.sleep(_POLL_S)

    def open(self, url: str) -> None:
        """Load ``url`` anew, wait until its first view and its first figures are there."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url.partition('#')[0])}) && document.title")
        self.settle()
        self.wait("document.querySelectorAll('#spaces a').length")
        self.wait("document.readyState === 'complete'")  # before, an address may replace the one before it

    def settle(self) -> None:
        """Wait until what was asked for is shown."""
        self.wait("document.querySelector('#view').ariaBusy === 'false'")
        self.wait("!document.body.innerText.includes('Looking for')")

    def go(self, fragment: str) -> None:
        """Follow a link within the page."""
        self.run(
            "new Promise(done => { addEventListener('hashchange', () => done(0), { once: true });"
            f" location.hash = {json.dumps(fragment)}; }})"
        )
        self.settle()

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key of the keyboard."""
        codes = {"Enter": 13, "Tab": 9}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(found => found.innerText)"
        )
        return found

    def resize(self, width: int, height: int = 800) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def _fault(answer: dict[str, Any]) -> Any:
    """Return why an expression has no value; None where it has one."""
    return answer.get("error") or answer["result"].get("exceptionDetails")


def _value(answer: dict[str, Any]) -> Any:
    assert not _fault(answer), _fault(answer)
    return answer["result"]["result"].get("value")


@contextlib.contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile while the block lasts."""
    name = find_browser()
    assert name is not None
    commands, answers = _pipe(), _pipe()
    pipes = f'exec "$0" "$@" 3<&{commands[0]} 4>&{answers[1]}'
    process = subprocess.Popen(
        ["bash", "-c", pipes, name, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(commands[0], answers[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    with process:
        try:
            yield Browser(commands[1], answers[0])
        finally:
            os.close(commands[1])  # the browser ends with its pipe
            os.close(answers[0])
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _pipe() -> tuple[int, int]:
    pair = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for end in pair]
    for end in pair:
        os.close(end)
    return moved[0], moved[1]
