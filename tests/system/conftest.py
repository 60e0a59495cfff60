"""Fixtures of the system tests: the network, a bench for each test, usher factories, and a bound on everything's time."""
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from usher_test.network import Network, fresh_address  # noqa: E402
from usher_test.processes import Bench  # noqa: E402
from usher_test.usher import BINARY, Usher  # noqa: E402
from usher_test.waiting import SLOWNESS  # noqa: E402

TEST_SECONDS = 60
TEARDOWN_SECONDS = 30


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run against the sanitizer builds")
    config.addinivalue_line("markers", "seconds(n): how long this test may take, instead of a minute")


def pytest_report_header():
    return f"usher: {BINARY}"


def pytest_sessionstart(session):
    if "USHER_BINARY" in os.environ and not BINARY.exists():
        raise pytest.UsageError(f"USHER_BINARY names {BINARY}, which isn't there")


@pytest.fixture(scope="session")
def network(request):
    net = Network()
    try:
        reporter = request.config.pluginmanager.getplugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line(f"network: {net.describe()}")
        yield net
    finally:
        net.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    bench = getattr(item, "bench", None)
    if report.failed and bench:
        for name, text in bench.logs():
            report.sections.append((f"{name} (its end)", text))


@pytest.fixture(autouse=True)
def time_limit(request):
    """SIGALRM ends a test that hangs, and again what its fixtures do at the end."""
    marker = request.node.get_closest_marker("seconds")
    seconds = (marker.args[0] if marker else TEST_SECONDS) * SLOWNESS

    def ring(*_):
        raise TimeoutError(f"the test took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, TEARDOWN_SECONDS * SLOWNESS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def bench(request, network, time_limit):
    """A short path, for Unix sockets; readable by the users that servers drop to."""
    directory = tempfile.mkdtemp(prefix=f"usher-t{os.getpid()}-")
    os.chmod(directory, 0o755)
    workplace = Bench(directory, network)
    request.node.bench = workplace
    yield workplace
    try:
        workplace.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_usher(request, bench):
    """Makes ushers, not yet started. At the end each that still runs must keep the laws, and exit 0 on SIGTERM."""
    made = []

    def make(config, **options):
        made.append(Usher(bench, config, **options))
        return made[-1]

    yield make
    passed = getattr(request.node, "report_call", None) is not None and request.node.report_call.passed
    try:
        for one in made:
            one.finish(check_laws=passed)
    finally:
        for one in made:
            one.notify.close()


@pytest.fixture
def start_usher(make_usher):
    """Makes an usher and waits until it serves."""
    return lambda config, **options: make_usher(config, **options).start()


@pytest.fixture
def front(network):
    """A fresh address for a listener."""
    return fresh_address(network.balancer)


@pytest.fixture
def front6(network):
    return fresh_address(network.balancer, socket.AF_INET6)
