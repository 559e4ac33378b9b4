"""The queue of runs, which notes who started each of them.

Here: the tag `wrdata/user` of every run that is queued. Not here: the limits of the queue
(dagster.yaml), who a request comes from (users.py), or runs of commands, which are not queued
(cli/runs.py).

Loaded by every process that opens the Dagster instance (dagster.yaml names it).
"""

import dagster as dg

from pipelines.dagster_internals import (
    QueuedRunCoordinator,
    SubmitRunContext,
    WorkspaceRequestContext,
)
from pipelines.users import CLIENT_TAG, USER_TAG, address_of, of_request, starter_of


class AttributingRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Queues runs as Dagster does, and tags each with who started it.

    A run from the UI carries the user whom the proxy let in, whatever tags the client or the run
    that it repeats had. A run of the daemon carries its schedule or sensor. One that the daemon
    starts for somebody, a retry or a part of a backfill, keeps the user that it has.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Tag the run, and queue it."""
        run = context.dagster_run
        tags = _tags(context)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)


def _tags(context: SubmitRunContext) -> dict[str, str]:
    """Return who started a run and from where; nothing where that is to stay as it is."""
    workspace = context.workspace
    if isinstance(workspace, WorkspaceRequestContext) and workspace.source is not None:
        address = address_of(context.get_request_header)
        user = {USER_TAG: of_request(context.get_request_header)}
        return user | ({CLIENT_TAG: address} if address else {})
    tags = context.dagster_run.tags
    if USER_TAG in tags:
        return {}
    starter = starter_of(tags)
    return {USER_TAG: starter} if starter else {}
