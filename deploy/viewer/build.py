"""Makes the viewer's archive from the published OHIF package: ``build.py`` writes it, ``build.py --check`` compares.

What goes in: the prebuilt application, moved below FILES, minified, without what a node does not use (AI models, source
maps, service worker, OpenID, icons of other systems). What comes out is one ZIP of stored members, each of which is
packed by itself (gzip), so that the node sends a member as it lies there; and ``viewer.lock``, which says of what it
was made and what every member must hash to. The same inputs give the same bytes; another zlib may pack differently, so
that ``--check`` compares what is inside. Needs npm; neither installing nor running a node does.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OHIF = (
    "@ohif/app",
    "3.13.2",
    "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
)
ESBUILD = "0.28.2"
ESBUILD_SHA512 = {  # of the package for each platform; all of them give the same bytes
    "linux-x64": "4xTZr1FUmSoQW4XIWmit3tzQrUTZM+N3P0XV8xROKYF50XfI7xeO90+1bZvNwxIufQ9hDQVRJH5YhgPVF8A/HQ==",
    "linux-arm64": "pW4AC0P3it8c7do9MVM4p51FzHzdM/TZrerurgRcHJ2WTa1VQ1CIq18xncfpBJw4ojkiZZrKW2yIBWBP92j6Ug==",
    "darwin-arm64": "n4KqkOQrraxHJcgjM1RvwbigfQKIKJVpM7xp+KsxiyUSrRdIXnt73VhrPAx0fV44hgfmIVKjxMN9J1t5jySVkw==",
    "darwin-x64": "uq6suIWYP37qzGddBKPw5QEQPi6HiLGsO7UmkpfyaYNQ3D+rN6w6WfwH+nuqcGXWvawGwxOEroO4YGnFh95azw==",
}
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}

REVISION = 1  # of this recipe: another one gives the files other addresses, for browsers keep them for ever
FILES = f"/viewer/{OHIF[1]}-{REVISION}/"
PLACE = Path(__file__).parents[2] / "node" / "api" / "viewer"
ARCHIVE, LOCK = "viewer.zip", "viewer.lock"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a ZIP can hold

LEFT_OUT = re.compile(
    r"ort/|customizations/|assets/(?!images/)|.*\.map$|_headers$|_redirects$|serve\.json$|manifest\.json$|app-config\.js$"
    r"|google\.js$|sw\.js$|init-service-worker\.js$|silent-refresh\.html$|oidc-client\.min\.js$|es6-shim\.min\.js$"
    r"|polyfill\.min\.js$|ohif-logo.*\.svg$|index\.html$"
)
PACKED = frozenset({".js", ".css", ".wasm", ".html", ".svg"})
MOVED_SCRIPTS, MOVED_FONTS = 8, 5  # places where OHIF writes its address; another number is another OHIF

# The inline scripts of OHIF's own page, as a file: so its policy needs no exceptions for inline scripts.
BOOT = """\
console.time('scriptToView');
window.PUBLIC_URL = '{files}';
function browserImportFunction(name) {{ return import(name); }}
"""
INLINE = ('console.time("scriptToView")', "function browserImportFunction(n){return import(n)}")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="theme-color" content="#000000">
<title>Images</title>
<link rel="icon" href="/viewer/icon.svg">
<link rel="stylesheet" href="{files}app.bundle.css">
<script src="{files}boot.js"></script>
<script src="/viewer/app-config.js"></script>
<script defer src="{files}{bundle}"></script>
<script defer src="/viewer/arriving.js"></script>
</head>
<body>
<noscript>The viewer needs JavaScript.</noscript>
<div id="react-portal"></div>
<div id="root"></div>
</body>
</html>
"""


class BuildError(Exception):
    """The archive cannot be built, or is not what the recipe makes."""


def main() -> None:
    """Build or check; the exit code says whether it worked."""
    parser = argparse.ArgumentParser(description="Build the viewer's archive.")
    parser.add_argument("--check", action="store_true", help="compare with what is committed instead of writing it")
    arguments = parser.parse_args()
    try:
        members = build()
        if arguments.check:
            check(members)
        else:
            write(members)
    except BuildError as error:
        sys.exit(str(error))


def build() -> dict[str, bytes]:
    """The members by name, unpacked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dist = folder / "dist"
        page = ""
        for path, data in _unpacked(_fetch(folder, *OHIF)):
            inside = path.removeprefix("dist/")
            if inside == "index.html":
                page = data.decode()
            if inside == "LICENSE" or (inside != path and not LEFT_OUT.match(inside)):
                (dist / inside).parent.mkdir(parents=True, exist_ok=True)
                (dist / inside).write_bytes(data)
        _move(dist)
        _minify(folder, dist)
        members = {str(p.relative_to(dist)): p.read_bytes() for p in sorted(dist.rglob("*")) if p.is_file()}
    bundle = _bundle_of(page)
    members["boot.js"] = BOOT.format(files=FILES).encode()
    members["index.html"] = PAGE.format(files=FILES, bundle=bundle).encode()
    return dict(sorted(members.items()))


def write(members: dict[str, bytes]) -> None:
    """Put archive and lock into the node's package."""
    PLACE.mkdir(parents=True, exist_ok=True)
    (PLACE / ARCHIVE).write_bytes(archive(members))
    (PLACE / LOCK).write_text(json.dumps(lock(members), indent=1) + "\n")


def check(members: dict[str, bytes]) -> None:
    """Raises BuildError unless the committed archive and lock hold just these members."""
    said = json.loads((PLACE / LOCK).read_text())
    if said != lock(members):
        raise BuildError(f"{LOCK} is not what the recipe makes: run deploy/viewer/build.py")
    with zipfile.ZipFile(PLACE / ARCHIVE) as held:
        found = {i.filename: unpacked(i.filename, held.read(i)) for i in held.infolist()}
    if found != members:
        raise BuildError(f"{ARCHIVE} is not what the recipe makes: run deploy/viewer/build.py")


def archive(members: dict[str, bytes]) -> bytes:
    """A ZIP that stores members which are packed one by one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as into:
        for name, data in members.items():
            is_packed = Path(name).suffix in PACKED
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, wherever it is built
            info.external_attr = 0o644 << 16
            into.writestr(info, gzip.compress(data, 9, mtime=0) if is_packed else data)
    return buffer.getvalue()


def unpacked(name: str, data: bytes) -> bytes:
    """A member as it was."""
    return gzip.decompress(data) if Path(name).suffix in PACKED else data


def lock(members: dict[str, bytes]) -> dict[str, Any]:
    """Of what the archive was made, and what its members hash to."""
    return {
        "recipe": "deploy/viewer/build.py",
        "source": {"package": OHIF[0], "version": OHIF[1], "sha512": OHIF[2], "licence": "MIT"},
        "minifier": {"package": "esbuild", "version": ESBUILD, "sha512": ESBUILD_SHA512},
        "files": FILES,
        "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    }


def _fetch(folder: Path, package: str, version: str, sha512: str) -> bytes:
    """A package from npm's registry; raises BuildError if it is not the one that is meant."""
    done = subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{version}"],  # noqa: S607 - npm as the PATH has it
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"npm cannot fetch {package}: {done.stderr.strip()[-300:]}")
    data = (folder / done.stdout.split()[-1]).read_bytes()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != sha512:
        raise BuildError(f"{package} {version} is not the package that this recipe was written for")
    return data


def _unpacked(package: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield member.name.removeprefix("package/"), file.read()


def _move(dist: Path) -> None:
    """Let the application look for its parts below FILES."""
    scripts = sum(
        _replace(p, '__webpack_require__.p = "/"', f'__webpack_require__.p = "{FILES}"') for p in dist.rglob("*.js")
    )
    fonts = sum(_replace(p, "url(/", f"url({FILES}") for p in dist.rglob("*.css"))
    if (scripts, fonts) != (MOVED_SCRIPTS, MOVED_FONTS):
        raise BuildError(f"OHIF writes its address in other places: {scripts} scripts, {fonts} fonts")


def _replace(path: Path, old: str, new: str) -> int:
    text = path.read_text()
    if old in text:
        path.write_text(text.replace(old, new))
    return text.count(old)


def _minify(folder: Path, dist: Path) -> None:
    """Scripts and styles in place; comments that name licences stay."""
    here = f"{sys.platform}-{MACHINES.get(platform.machine().lower(), '?')}"
    if here not in ESBUILD_SHA512:
        raise BuildError(f"no esbuild is known for {here}")
    tool = folder / "esbuild"
    files = dict(_unpacked(_fetch(folder, f"@esbuild/{here}", ESBUILD, ESBUILD_SHA512[here])))
    tool.write_bytes(files["bin/esbuild"])
    tool.chmod(0o700)
    sources = sorted(str(p.relative_to(dist)) for p in dist.rglob("*") if p.suffix in {".js", ".css"})
    options = ["--minify", "--legal-comments=inline", "--log-level=error", "--allow-overwrite", "--outdir=."]
    done = subprocess.run(
        [tool, *options, "--outbase=.", *sources], cwd=dist, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"esbuild: {done.stderr.strip()[-1000:]}")


def _bundle_of(page: str) -> str:
    """The name of the main script; raises BuildError if OHIF's page does more than the recipe knows."""
    inline = re.findall(r"<script>(.*?)</script>", page)
    found = re.findall(r'<script defer src="/(app\.bundle\.[0-9a-f]+\.js)">', page)
    known = [f'{INLINE[0]},window.PUBLIC_URL="/"', f'{INLINE[1]}window.PUBLIC_URL="/"']
    if inline != known or len(found) != 1:
        raise BuildError("OHIF's page has changed: look at its scripts")
    return str(found[0])


if __name__ == "__main__":
    main()
