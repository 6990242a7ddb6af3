"""The list of job groups, and the page of one: results, timeline, attempts, receipts, checks."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import attrs
from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.errors import RequestError
from prover_framework.jobs.feed import MAX_FOLLOWED
from prover_framework.model.callers import Scope
from prover_framework.model.jobs import CANCELLABLE, FINAL, REDRIVABLE, JobState
from prover_framework.model.listing import GroupPage, parse_query
from prover_framework.model.proofs import split_job_id
from prover_framework.model.views import AttemptView, VerboseGroupView, VerboseJobView
from prover_framework.proofs.charts import Drawn
from prover_framework.receipts.documents import dump_receipt
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.text import utc_now
from prover_framework.verification.checks import Report
from prover_framework.verification.service import read_report
from prover_framework.web.auth import NAMESPACE_KEY, caller_of, group_of, namespace_listed
from prover_framework.web.pages.charts import Figure, figure_of
from prover_framework.web.pages.parts import PageMode, Shown
from prover_framework.web.pages.rendering import (
    OfGroup,
    Renderer,
    address_of,
    in_namespace,
    object_of,
    see_other,
    segment,
)
from prover_framework.web.pages.results import Fact, Headline, ResultTexts
from prover_framework.web.pages.safety import read_form
from prover_framework.web.pages.shared import Shared
from prover_framework.web.pages.timeline import Timeline, timeline_of

# How long a page waits for charts that nobody has looked at yet.
CHART_WAIT_SECONDS = 1.0


@frozen(kw_only=True)
class GroupList:
    """The list of groups, with what it was filtered by.

    Args:
        page: The groups.
        given: What stands in the filters.
        titles: What people call the proof types that are installed.
        namespace: The caller's own.
        problems: What is wrong with the filters.
    """

    page: GroupPage | None
    namespace: str
    given: Mapping[str, str]
    titles: Mapping[str, str]
    problems: tuple[str, ...] = ()
    states: tuple[JobState, ...] = tuple(JobState)

    @property
    def events(self) -> str:
        """Where the page hears of changes: of all ends of groups, and of jobs that it shows."""
        groups = () if self.page is None else self.page.groups
        # Others than those of the caller's own namespace are shown as they were.
        open_groups = [
            group.job_group_id
            for group in groups
            if group.status not in FINAL and group.namespace == self.namespace
        ]
        query = urlencode([("follow", each) for each in open_groups[:MAX_FOLLOWED]])
        return f"/api/events?{query}" if query else "/api/events"

    @property
    def is_filtered(self) -> bool:
        """Whether not all groups are asked for."""
        return bool(self.given)

    @property
    def following(self) -> str | None:
        """Where the next page is, if there is one."""
        if self.page is None or self.page.next_cursor is None:
            return None
        return f"/?{urlencode({**self.given, 'cursor': self.page.next_cursor})}"

    def title(self, job_id: str) -> str:
        """Return what people call a job."""
        name, label = split_job_id(job_id)
        title = self.titles.get(name, name)
        return f"{title} ({label})" if label else title


@frozen(kw_only=True)
class InputRow:
    """An input that a result was made from."""

    name: str
    kind: str
    simulated: bool
    facts: tuple[Fact, ...]


@frozen(kw_only=True)
class JobPanel:
    """A job on the page of its group."""

    job: VerboseJobView
    title: str
    headline: Headline | None
    facts: tuple[Fact, ...]
    inputs: tuple[InputRow, ...]
    timeline: Timeline
    figures: tuple[Figure, ...] = ()
    chart_failure: str | None = None
    drawing: bool = False

    @property
    def failures(self) -> tuple[AttemptView, ...]:
        """The attempts that came to nothing."""
        return tuple(attempt for attempt in self.job.history if attempt.error is not None)


@frozen(kw_only=True)
class GroupDetails:
    """The page of a group."""

    group: VerboseGroupView
    panels: tuple[JobPanel, ...]
    simulated: bool

    @property
    def drawing(self) -> bool:
        """Whether some chart is on its way."""
        return any(panel.drawing for panel in self.panels)

    @property
    def has_ended(self) -> bool:
        """Whether all of its jobs have."""
        return all(job.status not in CANCELLABLE for job in self.group.jobs)

    @property
    def can_cancel(self) -> bool:
        """Whether some job can be called off."""
        return not self.has_ended

    @property
    def can_redrive(self) -> bool:
        """Whether some job can be given a new life."""
        return any(job.status in REDRIVABLE for job in self.group.jobs)

    @property
    def created_at(self) -> str:
        """When it was accepted."""
        return min(job.created_at for job in self.group.jobs)

    @property
    def events(self) -> str:
        """Where the page hears of changes."""
        where = in_namespace(self.group.namespace)
        return f"/api/job/{segment(self.group.job_group_id)}/events{where}"


@frozen(kw_only=True)
class Verified(OfGroup):
    """What verifying a receipt came to."""

    job_id: str | None
    title: str
    report: Report


class GroupPages:
    """The pages about groups.

    Args:
        shown: What they show and call.
        renderer: Makes pages of views.
    """

    def __init__(self, shown: Shown, renderer: Renderer) -> None:
        self._shown = shown
        self._renderer = renderer
        self._texts = ResultTexts(shown.service.catalogue())
        self._lists = Shared[str]()

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes."""
        show, take = self._renderer.show, self._renderer.take
        one = "/groups/<group_id>"
        show(app, "/", self._list, "groups")
        show(app, one, self._one, "group")
        longest = self._shown.verification.longest_seconds
        take(
            app,
            f"{one}/verify",
            self._verify,
            "verify",
            scope=Scope.VERIFY,
            answer_seconds=longest,
        )
        if self._shown.parts.mode is PageMode.ON:
            take(app, f"{one}/cancel", self._cancel, "cancel")
            take(app, f"{one}/redrive", self._redrive, "redrive")

    async def _list(self, request: Request) -> HTTPResponse:
        given = {name: values[0] for name, values in dict(request.args).items() if values[0]}
        own, listed = caller_of(request).namespace, namespace_listed(request)
        try:
            wanted = {name: [text] for name, text in given.items() if name != NAMESPACE_KEY}
            query = attrs.evolve(parse_query(wanted), namespace=listed)
        except RequestError as error:
            problems = tuple(map(str, error.problems))
            return self._renderer.page(
                request, "groups.html", self._view(given, own, None, problems), status=400
            )

        async def make() -> str:
            page = await self._shown.service.find(query)
            return self._renderer.text(request, "groups.html", self._view(given, own, page))

        # All who look at it hear of the same change, and load it anew at the same moment.
        key = tuple(sorted(given.items())), own, listed
        return self._renderer.answer(await self._lists.get(key, make))

    def _view(
        self,
        given: Mapping[str, str],
        namespace: str,
        page: GroupPage | None,
        problems: tuple[str, ...] = (),
    ) -> GroupList:
        return GroupList(
            page=page,
            given={name: text for name, text in given.items() if name not in ("cursor", "limit")},
            titles=self._texts.titles,
            namespace=namespace,
            problems=problems,
        )

    async def _one(self, request: Request, group_id: str) -> HTTPResponse:
        key = group_of(request, group_id)
        group = await self._shown.service.verbose_status(key)
        now = utc_now()
        drawn = await self._shown.charts.of_group(key, wait_seconds=CHART_WAIT_SECONDS)
        panels: list[JobPanel] = []
        for job in group.jobs:
            panels.append(self._panel(key, job, now, drawn.get(job.job_id)))
            # To draw the charts of many jobs takes longer than others should wait.
            await asyncio.sleep(0)
        view = GroupDetails(
            group=group,
            panels=tuple(panels),
            simulated=any(each.simulated for panel in panels for each in panel.inputs),
        )
        return self._renderer.page(request, "group.html", view)

    def _panel(self, key: str, job: VerboseJobView, now: str, drawn: Drawn | None) -> JobPanel:
        charts = () if drawn is None else drawn.charts
        evidence = object_of(object_of(job.result).get(EVIDENCE))
        return JobPanel(
            job=job,
            title=self._texts.title(job.job_id),
            headline=self._texts.headline(job.job_id, job.result),
            facts=self._texts.facts(job.job_id, job.result),
            inputs=tuple(
                InputRow(
                    name=name,
                    kind=stated["kind"],
                    simulated=stated["simulated"],
                    facts=self._texts.facts("", stated["facts"]),
                )
                for name, stated in object_of(evidence.get("inputs")).items()
            ),
            timeline=timeline_of(job, now),
            figures=tuple(figure_of(key, job.job_id, chart) for chart in charts),
            chart_failure=None if drawn is None else drawn.failure,
            drawing=drawn is None and job.status is JobState.SUCCEEDED,
        )

    async def _verify(self, request: Request, group_id: str) -> HTTPResponse:
        job_id = read_form(request).one("job_id") or None
        key = group_of(request, group_id)
        self._shown.verification.require_room()
        if job_id is None:
            document = dump_receipt(await self._shown.receipts.of_group(key))
            title = "the whole group"
        else:
            document = dump_receipt(await self._shown.receipts.of_proof(key, job_id))
            title = self._texts.title(job_id)
        report = read_report(await self._shown.verification.verify(document))
        view = Verified(key=key, job_id=job_id, title=title, report=report)
        return self._renderer.page(request, "verified.html", view)

    async def _cancel(self, request: Request, group_id: str) -> HTTPResponse:
        read_form(request)
        key = group_of(request, group_id)
        await self._shown.service.cancel(key)
        return see_other(address_of(key))

    async def _redrive(self, request: Request, group_id: str) -> HTTPResponse:
        read_form(request)
        # What could not be sent stays pending, which the page shows, and is sent by a sweep.
        key = group_of(request, group_id)
        await self._shown.service.redrive(key)
        return see_other(address_of(key))
