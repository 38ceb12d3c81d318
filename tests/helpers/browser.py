"""A real TensorBoard and a real headless Chromium. A missing browser is a failure, not a skip."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ARTIFACTS = Path(__file__).parents[2] / ".artifacts"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1500,1000",
)  # fmt: skip
IFRAME = "iframe[src*='name=lr_lightning']"


@contextlib.contextmanager
def tensorboard(logdir, *options):
    """TensorBoard on a free port; yields its address, without a slash at the end."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    options = (*options, "--reload_interval=1")
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r" at (http://127\.0\.0\.1:\d+\S*?)/? ", line):
                    yield found[1]
                    break
            else:
                raise AssertionError(f"TensorBoard did not start: {''.join(lines)}")
        finally:
            process.terminate()


def get(url):
    """JSON at an address."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def status(url, method="GET"):
    """The status code that an address answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until(condition, seconds=30, what="it"):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


class Tab:
    """The "Learning rate" tab in a browser."""

    def __init__(self, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium-is-missing"
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver") or "chromedriver-is-missing")
        self.driver = webdriver.Chrome(options=options, service=service)
        self.wait = WebDriverWait(self.driver, 40)

    def open(self, url):
        """Load the page anew and go into the tab."""
        self.driver.switch_to.default_content()
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        until(lambda: get(f"{url}/data/plugins_listing")["lr_lightning"]["enabled"], what="the tab's activation")
        self.driver.get(f"{url}/#lr_lightning")
        self.enter()
        self.ready()

    def enter(self):
        """Switch into the tab's frame."""
        self.driver.switch_to.default_content()
        self.wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, IFRAME))
        self.driver.switch_to.frame(self.driver.find_element(By.CSS_SELECTOR, IFRAME))

    def again(self, view="range_test", kept=None):
        """The tab anew with nothing chosen but the view; TensorBoard's own page, which takes longer, stays.

        ``kept`` is what the address says instead.
        """
        kept = urllib.parse.quote(json.dumps({"view": view}) if kept is None else kept)
        self.driver.switch_to.default_content()
        self.driver.execute_script(
            "history.replaceState(history.state, '', arguments[0])", f"#lr_lightning&p.lr_lightning.s={kept}"
        )
        self.enter()
        self.driver.execute_script("document.body.dataset.old = '1'; location.reload()")
        until(self.is_new, 40, "the tab anew")

    def is_new(self):
        """Whether the document since the last reload has drawn."""
        try:
            data = self.data()
        except WebDriverException:  # between two documents
            return False
        return "old" not in data and "ready" in data

    def data(self):
        """State that the page puts on its body."""
        return self.driver.execute_script("return {...document.body?.dataset}")

    def ready(self, after=0):
        """Wait until what was asked for after turn ``after`` is on screen."""
        until(lambda: "ready" in self.data() and int(self.data().get("turn", 0)) > after, 40, "the drawing")
        return self.data()

    def act(self, script, *arguments):
        """Run a script in the page that asks for a new picture, and wait for it."""
        before = int(self.data()["asked"])
        self.driver.execute_script(script, *arguments)
        until(lambda: int(self.data()["asked"]) > before, what="the page's question")
        return self.ready(int(self.data()["asked"]) - 1)

    def size(self, width, height=900):
        """Change the window's size."""
        self.driver.set_window_size(width, height)

    def plot(self, expression):
        """What plotly.js has: ``data`` and ``layout`` of the plot."""
        return self.driver.execute_script(
            f"const {{data, layout}} = document.querySelector('#plot'); return {expression}"
        )

    def swatches(self):
        """The colour of each run at the left, by its name."""
        return self.driver.execute_script(
            "return Object.fromEntries([...document.querySelectorAll('#runs label')]"
            ".map(x => [x.title, x.querySelector('.swatch').style.background]))"
        )

    def dark(self):
        """Switch TensorBoard to its dark mode."""
        before = int(self.data()["turn"])
        self.driver.switch_to.default_content()
        self.driver.find_element(By.CSS_SELECTOR, "app-header-dark-mode-toggle button").click()
        items = until(lambda: self.driver.find_elements(By.CSS_SELECTOR, "button[mat-menu-item]"), what="the menu")
        next(item for item in items if "Dark" in item.text).click()
        self.enter()
        self.ready(before)

    def view(self, name):
        """Change the view."""
        return self.act(f"document.querySelector('nav button[data-view={name}]').click()")

    def only(self, run):
        """Choose one run."""
        return self.act(
            "[...document.querySelectorAll('#runs label')].find(x => x.title === arguments[0])"
            ".querySelector('.only').click()",
            run,
        )

    def wider(self):
        """Pixels by which something is wider than the page."""
        return self.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def overlaps(self, selector):
        """Pairs of the plot's texts that lie on top of each other."""
        script = (
            "const all = [...document.querySelectorAll(`#plot ${arguments[0]}`)]"
            ".map(x => [x.textContent, x.getBoundingClientRect()]).filter(([, r]) => r.width && r.height);"
            "return all.flatMap(([a, r], i) => all.slice(i + 1).filter(([, q]) => r.left < q.right - 1"
            " && q.left < r.right - 1 && r.top < q.bottom - 2 && q.top < r.bottom - 2).map(([b]) => [a, b]))"
        )
        return self.driver.execute_script(script, selector)

    def texts(self, selector):
        """Texts of all elements that match."""
        script = "return [...document.querySelectorAll(arguments[0])].map(x => x.textContent)"
        return self.driver.execute_script(script, selector)

    def rows(self):
        """The table's cells."""
        script = (
            "return [...document.querySelectorAll('#table tbody tr')]"
            ".map(row => [...row.children].map(cell => cell.textContent))"
        )
        return self.driver.execute_script(script)

    def severe(self):
        """Errors on the console; TensorBoard's own fonts are missing under a path prefix."""
        entries = self.driver.get_log("browser")
        return [e for e in entries if e["level"] == "SEVERE" and "font-roboto" not in e["message"]]

    def shoot(self, name):
        """Keep a screenshot of the whole page."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.driver.switch_to.default_content()
        self.driver.save_screenshot(str(ARTIFACTS / f"{name}.png"))
        self.enter()
