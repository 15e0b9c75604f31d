"""The dashboard of a cluster shows the queues of the nodes that answer."""

from __future__ import annotations

from flowd import Queue, QueueGroup
from flowd.web import User
from tests.support.cluster import Cluster
from tests.support.email_job import RecordingHandler, policy
from tests.support.scheduled import every, scheduled
from tests.web.conftest import Open
from tests.web.forms import form_of


async def test_a_node_that_is_away_hides_its_queues_only(
    dashboard: Open, loose_cluster: Cluster
) -> None:
    """Though it lists the queues; what is at the others is shown, and can be changed."""
    names = [f"queue{number}" for number in range(100)]
    listing = loose_cluster.owner("flowd:queues")
    here = next(each for each in names if loose_cluster.owner(each) is listing)
    there = next(each for each in names if loose_cluster.owner(each) is not listing)
    classes = {
        each: scheduled(every(3_600, f"tick-{each}"), policy=policy(each))
        for each in (here, there)
    }
    queues = [
        Queue(each, RecordingHandler(), url=loose_cluster.url)
        for each in classes.values()
    ]
    async with (
        QueueGroup(queues),
        dashboard(user=User("ops"), url=loose_cluster.url, jobs=()) as client,
    ):

        async def page(path: str, **query: str) -> tuple[int, str]:
            answer = await client.get(path, params=query)
            return answer.status_code, answer.text

        assert "cannot be seen" not in (await page("/"))[1]
        loose_cluster.owner(here).kill()
        code, text = await page("/schedules")
        assert code == 200
        assert f"{here} (senders): cannot reach" in text
        form = form_of(text, "/schedules")
        assert form["stream"] == there
        done = await client.post("/schedules", data=form | {"do": "pause"})
        assert done.status_code == 303
        code, text = await page("/")
        assert code == 200
        assert text.count("cannot be seen: cannot reach") == 1
        assert "queues of before" in text
        assert (await page("/queue", stream=there))[0] == 200
        assert (await page("/queue", stream=here))[0] == 503
