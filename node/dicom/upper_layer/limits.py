"""What a peer may send, each limit with its reason. Checked before anything of that size is kept."""

PDU_HEADER_BYTES = 6  # type, reserved, length (PS3.8 section 9.3.1)
PDV_HEADER_BYTES = 6  # length, presentation context id, message control header (PS3.8 sections 9.3.5.1 and E.2)

# 128 presentation contexts, each with every transfer syntax of PS3.6 and UIDs of usual length, take 220 KiB.
MAX_ASSOCIATE_BYTES = 256 * 1024
# A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT have exactly this many (PS3.8 sections 9.3.4, 9.3.6 to 9.3.8).
SHORT_PDU_BYTES = 4
MAX_CONTEXTS = 128  # odd ids of one byte (PS3.8 section 9.3.2.2)
MAX_TRANSFER_SYNTAXES = 128  # of one presentation context; PS3.6 knows about 60
MAX_UID_BYTES = 64  # PS3.5 section 9.1
MAX_SUB_ITEMS = 1024  # of user information: three a presentation context, and some
# Less leaves no room for a fragment of even length beside the header of its PDV.
MIN_PEER_MAX_LENGTH = PDV_HEADER_BYTES + 2

MAX_COMMAND_BYTES = (
    16 * 1024
)  # real command sets have 100 to 200 bytes; a comment and two titles more are still far off
MAX_COMMAND_ELEMENTS = 64  # PS3.7 annex E defines about 40, half of them retired

# Offered to peers as the longest P-DATA-TF. dcmtk sends 128 KiB at most, others what they are offered: fewer, longer
# PDUs cost both sides less. Data is handed on as it arrives, so this is not memory.
DEFAULT_MAX_PDU = 256 * 1024
# Of each association's receive buffer: holds the longest A-ASSOCIATE-RQ, and as much as the kernel gives at a time.
RECEIVE_BUFFER_BYTES = 1024 * 1024

# An identifier with a thousand UIDs takes 65 KiB.
MAX_IDENTIFIER_BYTES = 256 * 1024
# A request for storage commitment takes about 150 bytes an instance: 50,000 instances.
MAX_ACTION_BYTES = 8 * 1024 * 1024
