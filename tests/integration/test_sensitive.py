"""Studies marked sensitive: taken back from everybody who was told, told again when the mark goes, both on record."""

from pathlib import Path

from support.locating import ACTOR, site, trust_each_other

from node.model.audit import AuditType
from node.sharing.sensitivity import Sensitivity


async def test_a_mark_takes_an_announcement_back_and_its_end_tells_it_again(tmp_path: Path) -> None:
    async with site(tmp_path, "north") as north, site(tmp_path, "lake") as lake:
        await trust_each_other(north, lake)
        study = await north.hold()
        await north.announcer.announce_now()
        (prior,) = await lake.priors_at(north)
        marks = Sensitivity(north.db, north.clock)
        for _ in range(2):
            await marks.mark(study, by=ACTOR)
        assert [one.study for one in await marks.page()] == [study]
        await north.announcer.announce_now()
        assert await lake.priors_at(north) == ()
        for _ in range(2):
            await marks.unmark(study, by=ACTOR)
        assert list(await marks.page()) == []
        await north.announcer.announce_now()
        assert [one.ref for one in await lake.priors_at(north)] == [prior.ref]
        for kind in (AuditType.STUDY_MARKED_SENSITIVE, AuditType.STUDY_UNMARKED_SENSITIVE):
            (event,) = await north.events(kind)
            assert (event.actor, event.study) == (ACTOR, study)
