"""What crosses to another node: HTTP/1.1 over mutually authenticated TLS 1.3, between two facilities and nobody else.

Who may speak. A connection is accepted by :mod:`.listener` (own accept loop: aiohttp has no handshake timeout and
hides who failed and why), shakes hands against the trust list of that moment (``crypto.tls``), and is entered by
:mod:`.connections` under the PeerId of its certificate before aiohttp sees a byte. Suspending or revoking a peer
aborts its live transports at once; and because a handshake may have been under way at that moment, :mod:`.server`
asks the directory again on every request. While an invitation is open, a second TLS context without client
certificates exists under its own server name; its connections reach the pairing handler alone.

Who may hold what. aiohttp keeps a stalled body open for ever and does not count streamed ones; :mod:`.wire` reads
every body with a limit, a time-out on each read and a least rate, and writes with a time-out too. All numbers are in
:mod:`.limits`.

How a vertical uses this room. Its handlers are ordinary aiohttp coroutines in ``handlers_*.py``, made by a function
``routes(port) -> Iterable[web.RouteDef]`` and given to ``PeerServer.add_routes`` before the server starts. A handler
asks ``peer_of(request)`` who speaks, reads by ``read_struct`` / ``read_body`` / ``body_reader``, answers with
``json_reply`` / ``bytes_reply`` or streams through ``stream_reply``, and lets every ``LeveretError`` fly: the guard
turns it into problem+json that carries the code and fixed words, nothing else. To call out:
``PeerClients.get(peer)``, then ``call`` or ``stream``. What a handler needs from above is a Protocol in :mod:`.ports`
or beside the handler; ``sharing`` implements it.

What is said. Signed messages are JSON in a compact JWS, read by :mod:`.strict`: :mod:`.messages` about requests (with
:mod:`.proofs` of consent), :mod:`.withdrawal_messages`, :mod:`.handlers_offers`. Instances travel as :mod:`.frames`;
:mod:`.object_stream` asks for them and receives them where they stay, without aiohttp, which would copy each byte.
:mod:`.presence` and :mod:`.discovery` say who is there; :mod:`.trouble` says what went wrong, in this node's words.
"""
