"""What to call somebody's device."""

_KINDS = (  # the first that stands in what a browser says of itself
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "Chromebook"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)


def device_name(agent: str) -> str:
    """A short name for a passkey made there; its owner can change it."""
    return next((name for sign, name in _KINDS if sign in agent), "Passkey")
