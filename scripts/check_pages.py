"""Checks the pages of the built book in a browser, as a reader would see them.

Each page is opened from its file, in each width, and from a server on 127.0.0.1. It is a defect if
  - the console has an error, a request fails, or one leaves the folder;
  - something is wider than the page and does not scroll in a box of its own, or a formula is cut;
  - the text shows LaTeX, an {{#include}}, or an error of the formulas;
  - an image does not load, or an image or a figure has no alternative text;
  - a link within the book leads nowhere.

Needs:     Chromium or Chrome; of Python, only the standard library.
Writes:    no files; prints a line for each page, and below it the defects.
Usage:     cargo x book && python scripts/check_pages.py [--help]
Exit code: 0 no defect, 1 a defect, 2 no such page, no book or no browser.
Made with: Python 3.11.7, Chromium 148
"""

import argparse
import functools
import html
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from urllib.parse import unquote, urldefrag

PROGRAMS = ["chromium", "chromium-browser", "google-chrome", "chrome"]
BAD = ["error", "warning", "assert"]

# Runs in a page; its value is a list of defects. The width of the page is that of .content, which
# scrolls by itself, so that the document's own width shows nothing.
LOOK = r"""(() => {
  const defects = [];
  const content = document.querySelector(".content"), main = document.querySelector("main");
  const name = e => `${e.tagName.toLowerCase()} "${e.textContent.trim().slice(0, 40)}"`;
  const scrolls = e => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
  const shown = e => e.checkVisibility({visibilityProperty: true});
  document.querySelectorAll("details").forEach(e => e.open = true);
  for (const e of [document.documentElement, content]) {
    if (e.scrollWidth > e.clientWidth) defects.push(`${e.scrollWidth} wide: .${e.className}`);
  }
  const edge = Math.ceil(content.getBoundingClientRect().right);
  const within = e => {
    const beyond = e !== content && e.getBoundingClientRect().right > edge;
    if (beyond && shown(e)) return defects.push(`beyond the right edge: ${name(e)}`);
    if (e === content || !scrolls(e)) [...e.children].forEach(within);
  };
  within(content);
  for (const e of main.querySelectorAll("math[display=block]")) {
    if (e.scrollHeight > e.clientHeight + 1) defects.push(`cut: ${name(e)}`);
  }
  const all = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  for (let text; (text = all.nextNode());) {
    const e = text.parentElement;
    if (!text.data.trim() || !shown(e)) continue;
    const unread = e.closest("code, pre") ? /{{#/ : /{{#|\$|\\[a-zA-Z(\[]/;
    if (unread.test(text.data)) defects.push(`unread: ${text.data}`);
  }
  for (const e of main.querySelectorAll("merror")) defects.push(`an error: ${name(e)}`);
  for (const e of main.querySelectorAll("img, svg.figure")) {
    if (!(e.alt ?? e.ariaLabel)) defects.push(`no alternative text: ${name(e)}`);
    if (e.src && !e.naturalWidth) defects.push(`not loaded: ${e.src}`);
  }
  return defects;
})()"""

LINKS = "[...document.querySelectorAll('a[href]')].map(e => e.href)"


class Browser:
    """A headless Chromium, spoken to in its DevTools protocol over two pipes."""

    def __init__(self, program, folder):
        to_browser, self.to_browser = os.pipe()
        self.from_browser, from_browser = os.pipe()
        # The browser reads from 3 and writes to 4, which may be in use here: by way of high ones.
        ends = [os.dup2(to_browser, 100), os.dup2(from_browser, 101)]
        flags = ["--headless=new", "--remote-debugging-pipe", "--hide-scrollbars"]
        flags += [f"--user-data-dir={folder}"] + ["--no-sandbox"] * (os.geteuid() == 0)
        command = ["bash", "-c", 'exec "$@" 3<&100 4>&101', "-", program, *flags, "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=ends, stderr=subprocess.DEVNULL)
        for end in [to_browser, from_browser, *ends]:
            os.close(end)
        self.count, self.read, self.events, self.session = 0, b"", [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.read:
            self.read += os.read(self.from_browser, 1 << 16) or sys.exit("the browser ended")
        message, self.read = self.read.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params} | self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self.message()).get("id") != self.count:
            self.events.append(answer)
        return answer["result"]

    def run(self, script):
        how = {"expression": script, "returnByValue": True, "awaitPromise": True}
        return self.call("Runtime.evaluate", **how)["result"].get("value")

    def open(self, address):
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def complaints(self, root):
        """What went wrong since the page was opened, if all of it is below the address `root`."""
        for event in self.events:
            method, params = event.get("method"), event.get("params")
            if method == "Runtime.exceptionThrown":
                yield f"an exception: {params['exceptionDetails']}"
            elif method == "Runtime.consoleAPICalled" and params["type"] in BAD:
                yield f"console: {params['args']}"
            elif method == "Log.entryAdded" and params["entry"]["level"] in BAD:
                yield f"log: {params['entry']['text']} {params['entry'].get('url', '')}"
            elif method == "Network.requestWillBeSent":
                address = params["request"]["url"]
                old = not params["documentURL"].startswith(root)  # of the page before
                if not old and not address.startswith((root, "data:", "blob:")):
                    yield f"a request leaves the book: {address}"


def look(browser, address, root, widths):
    """Opens a page in each width; its defects and their widths, its links, its places."""
    defects = {}
    for width in widths:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.open(address)
        browser.run("document.fonts.ready.then(() => null)")
        for defect in [*browser.run(LOOK), *browser.complaints(root)]:
            defects.setdefault(" ".join(defect.split()), []).append(str(width))
    return defects, browser.run(LINKS)


def check(browser, book, server, options):
    """Prints each page and its defects; the number of defects."""
    file, n_defects = book.as_uri(), 0
    every = sorted(path.name for path in book.glob("*.html"))
    # 404.html is for servers, and toc.html, without scripts, has no text.
    names = options.pages or [name for name in every if name not in ["404.html", "toc.html"]]
    ids = {name: set(re.findall(r'\sid="?([^" >]*)', (book / name).read_text())) for name in every}
    for name in names:
        defects, links = look(browser, f"{file}/{name}", f"{file}/", options.widths)
        browser.open(f"{server}/{name}")
        for defect in browser.complaints(f"{server}/"):
            defects.setdefault(defect, []).append("from the server")
        for link in links:
            page, place = urldefrag(link)
            page = unquote(page.removeprefix(f"{file}/"))
            there = place == "" or unquote(place) in map(html.unescape, ids.get(page, []))
            if link.startswith(file) and not (there and (book / page).is_file()):
                defects.setdefault(f"a link leads nowhere: {link}", [])
        n_defects += len(defects)
        print(f"{name}: {len(defects) or 'no'} defects", flush=True)
        for defect, where in defects.items():
            print(f"    {defect[:200]} {', '.join(where)}")
    return n_defects


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("pages", nargs="*", help="names such as 01_attention.html; without, all")
    parser.add_argument("--book", default="target/book", help="folder of the built book")
    parser.add_argument("--browser", help="program; otherwise the first of chromium and chrome")
    parser.add_argument("--widths", nargs="+", type=int, default=[390, 1200])
    options = parser.parse_args()
    book = pathlib.Path(options.book).resolve()
    if not (book / "index.html").is_file():
        parser.error(f"no book in {book}: `cargo x book` builds it")
    unknown = [name for name in options.pages if not (book / name).is_file()]
    if unknown:
        pages = ", ".join(sorted(path.name for path in book.glob("*.html")))
        parser.error(f"no page {', '.join(unknown)} in {book}; it has {pages}")
    names = [options.browser] if options.browser else PROGRAMS
    program = next(filter(None, map(shutil.which, names)), None)
    if not program:
        parser.error(f"no browser: none of {', '.join(names)} is a program")
    http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
    files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=book)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, folder)
        n_defects = check(browser, book, f"http://127.0.0.1:{server.server_port}", options)
        os.close(browser.to_browser)  # which ends it
        browser.process.wait()
    return 1 if n_defects else 0


if __name__ == "__main__":
    sys.exit(main())
