"""The console: what clinicians, operators and auditors see in a browser.

Pages call the same use cases as ``api.rest`` and hold no rules of their own. Addresses carry opaque ids (``handles``):
what a page is about never stands in an address, because addresses end up in histories, logs and referrers.
"""
