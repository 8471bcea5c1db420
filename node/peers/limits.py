"""Every number that bounds what a peer, or a stranger, may take from this node; each with its reason."""

# The listener
BACKLOG = 256  # connections the kernel queues; a burst of a few peers with several streams each
HANDSHAKE_SECONDS = 5.0  # two round trips and an Ed25519 signature: a slow satellite link needs 2
SHUTDOWN_SECONDS = 2.0  # closing alert of TLS; who does not answer it is cut off
HALF_OPEN = 64  # handshakes at once; when full, the oldest of the address that has most goes
FAILURES_BURST = 100.0  # failed handshakes an address may spend before it is turned away unread
FAILURES_PER_SECOND = 2.0  # and how fast that budget comes back; an unconfirmed joiner spends 0.1
ADDRESSES_REMEMBERED = 4096  # failure budgets kept; the oldest are forgotten
CONNECTIONS = 512  # in all
CONNECTIONS_PER_PEER = 32  # a transfer takes about 4
PAIRING_CONNECTIONS = 8  # by strangers, so few
PAIRING_SECONDS = 15.0  # the whole life of a pairing connection

# HTTP
KEEPALIVE_SECONDS = 20.0  # aiohttp's default is 3630
CLIENT_KEEPALIVE_SECONDS = 15.0  # less than the server's, so that a client never meets a closing connection
REQUEST_HEAD_SECONDS = 30.0  # from handshake or last answer to a complete request head; ends header drips
STOP_SECONDS = 1.0  # for running answers when the node stops (aiohttp waits twice as long)
LINGER_SECONDS = 2.0  # what is left of a body that no handler wanted
LINE_BYTES = 4096  # request line
FIELD_BYTES = 4096  # one header field
FIELDS = 32  # header fields of a request
READ_BUFFER = 2**20  # aiohttp's buffer per stream; with 64 KiB it stops and starts the transport all the time
PIECE_BYTES = 256 * 1024  # what a streamed answer is written in (the largest that asyncio's TLS takes at once)

# Bodies
READ_SECONDS = 30.0  # no byte for that long: gone
WRITE_SECONDS = 60.0  # the peer takes nothing for that long: gone
LEAST_RATE = 1024  # bytes a second of waiting, after GRACE_SECONDS; slower is a drip, not a network
LEAST_WRITE_RATE = 4096  # the same of what is sent: until it is taken it is in this node's memory
GRACE_SECONDS = 30.0
MESSAGE_BYTES = 256 * 1024  # an ordinary request or answer that is held in memory whole
PROBLEM_BYTES = 4096  # problem+json that a peer answers
PAIRING_BYTES = 4096  # a card with its certificate is about 2000

# Calls
CONNECT_SECONDS = 5.0  # TCP and TLS, for each address
CALL_SECONDS = 30.0  # a whole small call
CONNECTIONS_TO_PEER = 16  # that this node opens

# Requests of a peer: each new one is kept with its body, its decision and an audit event, whatever it comes to
REQUESTS_BURST = 200.0  # the clinics of one morning at once
REQUESTS_PER_SECOND = 0.1  # six a minute afterwards, day and night; the largest referrer asks for less
PEERS_REMEMBERED = 4096  # whose budgets are kept; more than anybody trusts

# Presence
PRESENCE_SECONDS = 10.0  # between two signs of life
PRESENCE_FIRST_RETRY = 1.0  # doubled on every failure
PRESENCE_LAST_RETRY = 15.0

# Pairing attempts by strangers: a 128-bit secret cannot be guessed, this bounds the work
PAIRING_BURST = 20.0
PAIRING_PER_SECOND = 0.5

# Discovery
NEARBY_NODES = 64  # shown at most; more is a flood
NEARBY_QUEUE = 256  # names waiting to be looked up
NEARBY_ADDRESSES = 4  # of one node

# Heads of a peer's audit log: each is a signature to check, and a row or an audit event where it is news
WITNESS_BURST = 60.0  # heads at once, after a time without contact
WITNESS_PER_SECOND = 1.0  # an honest owner shows one every three seconds at most, twice where it must prove more
