"""SMART Health Links over HTTP.

``protocol`` has the endpoints of the specification, ``page`` this node's own page for who opens a link in a browser.
"""
