"""Rules for the whole suite: real peers are required in CI, and may be missing elsewhere."""

import os
import shutil
from pathlib import Path

import pytest
from support.peers import NODE_MODULES

ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = ("storescu", "echoscu", "storescp", "Orthanc", "chromium", "ip")


def missing_peers() -> list[str]:
    """Real programs that the suite wants and this machine has not."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    files = {"orthanc-dicomweb": ORTHANC_DICOMWEB, "axe-core (npm)": NODE_MODULES / "axe-core"}
    return missing + [name for name, path in files.items() if not path.exists()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = missing_peers()
    if not missing:
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(
            f"CI must have the real peers; missing: {', '.join(missing)} (run deploy/install-peers)"
        )
    skip = pytest.mark.skip(reason=f"needs real programs that are not installed: {', '.join(missing)}")
    for item in items:
        if item.get_closest_marker("peers"):
            item.add_marker(skip)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of all says how many tests did not meet their peer, and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = [r for r in reporter.stats.get("skipped", []) if "real programs" in str(r.longrepr)]
    if skipped:
        reporter.write_line(f"{len(skipped)} skipped: real peers are not installed ({', '.join(missing_peers())})")
