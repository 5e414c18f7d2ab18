"""What `headcanon up` tells a Prefect server: pool, forms and limits before its worker starts, lost runs at the end.

Imports Prefect and every flow, which takes seconds: `flows.up` does so while its server starts.
"""

import contextlib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client

from flows import healthy
from flows.deploy import as_client, declared, put_in_place
from flows.janitor import alive, forget_planned_runs, set_crashed
from flows.notify import put_webhook_in_place
from flows.place import PRESETS
from flows.wanted import Wanted
from lora_core.bases.presets import base_presets
from tasks.runtime import gpu_limit


class Provision:
    """What one `headcanon up` puts onto its server, and keeps up to date there."""

    def __init__(self, wanted: Wanted) -> None:
        """Import every flow, so that later only the server is waited for."""
        self._wanted = wanted
        for one in declared():
            one.flow()
        self._presets: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Pool, deployments, webhook, this host's GPU limit; and no heap of looks that were missed meanwhile."""
        own = not self._wanted.api
        with self._client() as client:
            # The scheduler of a server that was just started proves itself by making all runs ahead anew.
            forget_planned_runs(client, None if own else datetime.now(UTC))
            # Where there is no GPU, nothing asks for it; torch would take seconds to say whether there is one.
            client.upsert_global_concurrency_limit_by_name(gpu_limit(), 1)
            if self._wanted.notify:
                put_webhook_in_place(client, self._wanted.notify)
            self._put(client, preset_names(self._wanted.home))

    def follow_presets(self) -> None:
        """Let the forms offer the presets that there are now, unless the server is away; then it is tried again."""
        presets = preset_names(self._wanted.home)
        if presets != self._presets and healthy.server(self._wanted.address):
            with self._client() as client:
                self._put(client, presets)

    def _put(self, client: SyncPrefectClient, presets: tuple[str, ...]) -> None:
        put_in_place(client, presets, add=bool(self._wanted.api))
        self._presets = presets

    @contextlib.contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        with client_of(self._wanted), get_client(sync_client=True) as client:
            yield client

    def set_crashed(self, processes: Collection[str]) -> None:
        """What is left in Prefect of runs whose processes were ended here.

        Args:
            processes: process ids, as Prefect writes them.
        """
        with self._client() as client:
            for run in alive(client):
                if run.infrastructure_pid in processes:
                    set_crashed(client, run, "`headcanon up` was ended. Retry resumes it.")


def client_of(wanted: Wanted) -> contextlib.AbstractContextManager[object]:
    """Prefect's client settings for the server of `headcanon up`, for the length of a block."""
    return as_client(wanted.address, wanted.password().get("PREFECT_API_AUTH_STRING", ""))


def preset_names(home: Path) -> tuple[str, ...]:
    """What a form can offer: the recipes of a home, then the families of bases."""
    own = sorted(file.stem for file in (home / PRESETS).glob("*.toml"))
    return tuple(dict.fromkeys((*own, *(each.name for each in base_presets()))))
