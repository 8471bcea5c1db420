"""The table that benchmarks fill and the session prints at its end."""

rows: list[str] = []  # of this pytest process; a benchmark session is one process


class Table:
    """Rows of `what: rate (ratio to a peer)`."""

    def row(self, what: str, size: float, seconds: float, instances: int, against: float | None = None) -> float:
        """Add a measurement of ``size`` bytes in ``seconds``; ``against`` is a peer's rate. Returns MB/s."""
        rate = size / seconds / 1e6
        ratio = "" if against is None else f"  {rate / against:5.2f} x"
        rows.append(f"{what:60} {rate:7.1f} MB/s {instances / seconds:6.0f} instances/s{ratio}")
        print(rows[-1], flush=True)
        return rate

    def note(self, text: str) -> None:
        """Add a line."""
        rows.append(text)
        print(text, flush=True)
