"""A headless Chromium that is driven as a person drives it: by the mouse, the keyboard and a finger.

It is spoken to in its DevTools protocol over two pipes, which needs no package.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60.0  # seconds
KEYS = {
    "Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " "), "ArrowLeft": (37, ""), "ArrowUp": (38, ""),
    "ArrowRight": (39, ""), "ArrowDown": (40, ""),
}  # fmt: skip


class Browser:
    """One page."""

    def __init__(self, profile, size=(1280, 900), phone=False, dark=False):
        ours_in, out = os.pipe()
        into, ours_out = os.pipe()
        # Descriptors 3 and 4 are Chromium's own ends; they are made from others, which must not be 3 and 4 already.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (into, out)]
        command = [
            "bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", CHROMIUM, "--headless", "--no-sandbox",
            "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, pass_fds=theirs, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for end in (into, out, *theirs):
            os.close(end)
        self._in, self._out, self._buffer, self._number = ours_in, ours_out, b"", 0
        self.said, self._loaded, self._session = [], False, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=phone
        )
        if phone:
            self._call("Emulation.setTouchEmulationEnabled", enabled=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def close(self):
        with contextlib.suppress(Exception):
            self._call("Browser.close")
        for end in (self._in, self._out):
            os.close(end)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        number = self._number
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Log.entryAdded":
            self.said.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(parameters["exceptionDetails"]["text"])
        return message

    def open(self, address):
        self._loaded = False
        self._call("Page.navigate", url=address)
        self._wait_loaded()

    def _wait_loaded(self):
        until = time.monotonic() + PATIENCE
        while not self._loaded:
            assert time.monotonic() < until, "the page does not load"
            self._call("Runtime.evaluate", expression="0")
            time.sleep(0.02)

    def ask(self, expression):
        """The value of an expression of JavaScript in the page."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression):
        until = time.monotonic() + PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.02)

    def place(self, selector):
        """The middle of an element, which is scrolled into view."""
        found = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        assert found, f"there is no {selector}"
        return found

    def click(self, selector, loads=False):
        x, y = self.place(selector)
        self._loaded = not loads
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._mouse(kind, x, y)
        self._wait_loaded()

    def _mouse(self, kind, x, y, held=False):
        button = "left" if kind != "mouseMoved" or held else "none"
        count = 0 if kind == "mouseMoved" else 1
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=count, buttons=int(held))

    def drag(self, start, end):
        self._mouse("mouseMoved", *start)
        self._mouse("mousePressed", *start)
        for share in (0.3, 0.7, 1.0):
            self._mouse("mouseMoved", *(a + share * (b - a) for a, b in zip(start, end, strict=True)), held=True)
        self._mouse("mouseReleased", *end)

    def tap(self, selector, loads=False):
        x, y = self.place(selector)
        self._loaded = not loads
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self._wait_loaded()

    def press(self, key, shift=False, loads=False):
        code, text = KEYS[key]
        self._loaded = not loads
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)
        self._wait_loaded()

    def type(self, text):
        self._call("Input.insertText", text=text)

    def focused(self):
        """What has the focus: its tag and its words."""
        return self.ask(
            "(e => e.tagName.toLowerCase() + ' ' + (e.name || e.getAttribute('title') || e.textContent.trim().slice(0, 40)))"
            "(document.activeElement)"
        )

    def tab_to(self, words, most=80):
        """Press Tab until what has the focus bears the words."""
        for _ in range(most):
            self.press("Tab")
            if words in self.focused():
                return
        raise AssertionError(f"Tab does not lead to {words!r}")

    def choose_file(self, selector, file):
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def downloads_to(self, folder):
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def picture(self, file, whole=True):
        """Write a screenshot."""
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))
