"""How many patients of this facility share a name and birth date: what makes demographics prove nothing."""

from node.model.instance import Demographics
from node.model.match import same_person
from node.store.engine import Read

MAX_ALIKE = 5000  # patients born on one day that are looked at; a facility of millions has some hundred


async def count_namesakes(rx: Read, who: Demographics) -> int:
    """Patients with own studies whose name, birth date and sex are those of ``who``, that patient included."""
    rows = await rx.fetch_all(
        "SELECT DISTINCT issuer, patient_id, patient_name, sex FROM study WHERE birth_date = ? AND origin IS NULL"
        " LIMIT ?",
        (who.birth_date, MAX_ALIKE),
    )
    alike = {(row[0], row[1]) for row in rows if same_person(who, Demographics(row[2], who.birth_date, row[3]))}
    return max(1, len(alike))
