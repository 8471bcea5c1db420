"""The local API: for people, viewers and systems of this facility, never for other facilities.

One table of routes (:mod:`.routing`) says for each address which roles may use it, what body it takes and what it is
for; the servers, ``openapi.json`` and the table in ``docs/operations.md`` are made from it, so none can forget a check.
A handler receives a :class:`~node.api.routing.Call` whose caller is known and whose body is decoded, calls one use case
and returns a plain object; errors fly and become ``application/problem+json`` in one place (:mod:`.problem`).

Two listeners serve the same table: TCP, where a bearer token says who calls, and the admin socket in the data
directory, where the kernel does (:mod:`.admin`); :mod:`.auth` makes both a caller. Who was refused is on record,
however often (:mod:`.denials`).
"""
