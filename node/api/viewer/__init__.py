"""``/viewer``: OHIF, served by the node itself, for who may see images.

``viewer.zip`` holds OHIF's published build as ``deploy/viewer/build.py`` prepared it: members are packed one by one,
and are sent as they lie there. Its files bear the recipe's version in their address, are the same for everybody and are
kept by browsers for ever; its page and its configuration are made for the session that asks. What the page shows comes
from ``/dicom-web`` by the session's cookie, so what a caller may see is decided by ``sharing.visibility`` here as well.

The policy of OHIF's page is wider than that of the others (styles inline, WebAssembly, workers), and holds under
``/viewer`` only.
"""
