"""Tell someone: automations that call a webhook when a run failed, waits for a person, or published a LoRA."""

from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from flows.janitor import OURS
from flows.place import AllowedFolders
from flows.schedules import SILENT

PUBLISHED = "headcanon.published"
REFUSED = "headcanon.inbox.refused"
_BLOCK = "headcanon"
_STATES = ("Failed", "Crashed", "TimedOut", "Suspended", "Paused")
# `text` is what Slack, Mattermost and ntfy-like services show; Discord shows `content`.
_PAYLOAD = """\
{%- set what = event.event.split(".")[-1] -%}
{%- set about = event.resource.name or event.resource.id -%}
{%- set why = (event.payload.get("validated_state") or {}).get("message") or event.payload.get("folder")
    or event.payload.get("message") or "" -%}
{%- set line = "headcanon: " ~ about ~ " " ~ what ~ (": " ~ why if why else "") -%}
{"event": {{ what | tojson }}, "about": {{ about | tojson }}, "message": {{ why | tojson }},
 "text": {{ line | tojson }}, "content": {{ line | tojson }}}
"""


def started() -> None:
    """Link a run in Prefect's UI to the studio page."""
    if (context := FlowRunContext.get()) and context.flow_run:
        _link("studio-run", f"r/{context.flow_run.id}", "This run: steps, curves, pictures")


def published(character: str, folder: str) -> None:
    """Say that a LoRA was published, for whoever listens."""
    resource = {"prefect.resource.id": f"headcanon.character.{character}", "prefect.resource.name": character}
    emit_event(PUBLISHED, resource=resource, payload={"folder": folder})
    _link("studio-result", f"out/{quote(Path(folder).name)}", "The result: report, grid, files to download")


def _link(key: str, path: str, text: str) -> None:
    """An artifact that leads to the studio page, where the server of this run has one."""
    if page := AllowedFolders().page:
        create_markdown_artifact(f"[{text}]({page}/{path})", key=key, description=f"{text}, on the studio page")


def put_webhook_in_place(client: SyncPrefectClient, url: str) -> None:
    """The block that holds the webhook's address, a secret, and the automations that call it; replaced if there."""
    block = UUID(str(Webhook(url=SecretStr(url)).save(_BLOCK, overwrite=True)))
    call = CallWebhook(block_document_id=block, payload=_PAYLOAD)
    for automation in (
        AutomationCore(
            name="headcanon: a run needs you",
            description="A run failed, lost its worker, or waits for an answer.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{state}" for state in _STATES},
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                match_related=ResourceSpecification(
                    {"prefect.resource.role": "flow", "prefect.resource.name": list(OURS)}
                ),
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[call],
        ),
        AutomationCore(
            name="headcanon: a LoRA is there",
            description="A run published a LoRA.",
            trigger=EventTrigger(expect={PUBLISHED}, posture=Posture.Reactive, threshold=1),
            actions=[call],
        ),
        AutomationCore(
            name="headcanon: something starts no more",
            description="A schedule has no runs, or no run can be started for a folder in characters/.",
            trigger=EventTrigger(expect={SILENT, REFUSED}, posture=Posture.Reactive, threshold=1),
            actions=[call],
        ),
    ):
        there = client.read_automations_by_name(automation.name)
        if there:
            client.update_automation(there[0].id, automation)
        else:
            client.create_automation(automation)
