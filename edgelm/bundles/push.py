"""A bundle on a model hub: its files as they are, in one commit, by Hugging Face's library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from edgelm.errors import BundleError, EdgelmError, HubError, UsageError
from edgelm.runtime import Bundle, open_bundle
from edgelm.runtime.manifest import CARD_FILE, UNLISTED
from edgelm.runtime.verify import verify
from edgelm.version import __version__

_HUBS_OWN = frozenset((".gitattributes",))  # which a hub puts into every repository
_HTTP_LIBRARIES = ("httpx", "httpx2", "requests", "urllib3")


@dataclass(frozen=True)
class PushedFile:
    """A file of the repository: its path there, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class PushResult:
    """What was uploaded, or would be.

    Attributes:
        path: of the bundle.
        repo: name of the repository, such as org/name.
        files: of the bundle, as they lie in the repository.
        url: of the commit; empty where nothing was uploaded.
        others: files that lie in the repository beside the bundle, and are none of it.
    """

    path: str
    repo: str
    files: tuple[PushedFile, ...]
    url: str = ""
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm push --json` prints."""
        return asdict(self) | {"files": [asdict(file) for file in self.files], "others": list(self.others)}


def push(
    path: str | Path,
    repo: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
    show_progress: bool = False,
) -> PushResult:
    """Upload a bundle to a repository of a hub, which is made if it is not there. Files that lie there stay.

    Args:
        path: a bundle; its files become those of the repository, or it the one file beside its card.
        token: that may write; None: that of HF_TOKEN or of `hf auth login`.
        private: make a new repository private; one that is there must be.
        revision: a branch, which is made if it is not there; None: main.
        dry_run: upload nothing, and ask the hub nothing.
        endpoint: address of the hub; None: of HF_ENDPOINT, or Hugging Face's.
        show_progress: draw the library's own bars on stderr.

    Raises:
        BundleError: the bundle is not as its manifest says.
        UsageError: no name for a repository, or no token.
        HubError: the hub cannot be reached, or refuses.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(
            f"{repo!r} names no repository.", hint="Give it as OWNER/NAME, such as me/my-model."
        ) from error
    bundle = _whole(path)
    operations, files = _operations(bundle)
    if dry_run:
        return PushResult(str(path), repo, files)
    if token is None and get_token() is None:
        raise UsageError(
            "no token: a hub takes uploads from those alone whom it knows.",
            hint="Give --token-file FILE, set HF_TOKEN, or call `hf auth login`; the token must be one that may write.",
        )
    api = HfApi(endpoint=endpoint, token=token, library_name="edgelm", library_version=__version__)
    manifest = bundle.manifest
    with _bars(show_progress), _translated(api.endpoint, repo):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise HubError(
                f"{repo} is there already, and public; nothing was uploaded.",
                hint="Make it private on the hub, choose another name, or leave out --private.",
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        done = api.create_commit(
            repo,
            operations,
            commit_message=f"{manifest.name}: {manifest.task.kind}, {manifest.precision}, by edgelm {__version__}",
            revision=revision,
        )
        there = api.list_repo_files(repo, revision=revision)
    others = sorted({*there} - {file.path for file in files} - _HUBS_OWN)
    return PushResult(str(path), repo, files, str(done.commit_url), tuple(others))


def _whole(path: str | Path) -> Bundle:
    """The bundle, if all of its files are as they are listed.

    Raises:
        BundleError: one is not.
    """
    found = verify(path, replay=False)
    if failed := next((check for check in found.checks if not check.ok), None):
        raise BundleError(
            f"{path}: {failed.name}: {failed.detail}; it is not pushed.",
            hint="`edgelm verify` shows every check; export or copy the bundle again.",
        )
    return open_bundle(path)


def _operations(bundle: Bundle) -> tuple[list[CommitOperationAdd], tuple[PushedFile, ...]]:
    """What is uploaded, as the library of the hub takes it."""
    if bundle.is_file:
        card = bundle.read(CARD_FILE) if bundle.has(CARD_FILE) else b""
        sources: dict[str, Path | bytes] = {bundle.path.name: bundle.path} | ({CARD_FILE: card} if card else {})
    else:
        listed = {entry.path for entry in bundle.all_files()}
        beside = {name for name in UNLISTED if (bundle.path / name).is_file()}
        sources = {name: bundle.path / name for name in sorted(listed | beside)}
    operations = [
        CommitOperationAdd(name, source if isinstance(source, bytes) else str(source))
        for name, source in sources.items()
    ]
    files = tuple(
        PushedFile(name, len(source) if isinstance(source, bytes) else source.stat().st_size)
        for name, source in sources.items()
    )
    return operations, files


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """The library's progress bars, as they are wanted here, and afterwards as they were."""
    before = are_progress_bars_disabled()
    if shown == before:
        (enable_progress_bars if shown else disable_progress_bars)()
    try:
        yield
    finally:
        if shown == before:
            (disable_progress_bars if shown else enable_progress_bars)()


@contextlib.contextmanager
def _translated(endpoint: str, repo: str) -> Iterator[None]:
    try:
        yield
    except EdgelmError:
        raise
    except Exception as error:
        told = _explain(error, endpoint, repo)
        if told is None:
            raise
        raise told from error


def _explain(error: BaseException | None, endpoint: str, repo: str) -> HubError | None:
    """What a user can do about an error of the library; None: it is none that a hub or a network gives."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return _refused(int(status), error, endpoint, repo)
        if isinstance(error, OfflineModeIsEnabled):
            return HubError("HF_HUB_OFFLINE is set, so nothing is sent.", hint="Unset it to push.")
        if isinstance(error, ConnectionError) or type(error).__module__.split(".")[0] in _HTTP_LIBRARIES:
            reason = " ".join(str(error).split())[:200]
            return HubError(
                f"{endpoint} cannot be reached ({reason or type(error).__name__}).",
                hint="Check the network and HF_ENDPOINT; the same command goes on with what is not there yet.",
            )
        if isinstance(error, ValueError) and "README.md" in str(error):
            reason = " ".join(str(error).split())[:300]
            return HubError(f"{endpoint} does not take the bundle's card: {reason}", hint="Export the bundle again.")
        error = error.__cause__
    return None


def _refused(status: int, error: BaseException, endpoint: str, repo: str) -> HubError:
    if status == 401:
        return HubError(
            f"{endpoint} does not know the token (401).",
            hint="Make one that may write in the hub's settings, and give it with --token-file FILE or HF_TOKEN.",
        )
    if status == 403:
        return HubError(
            f"{endpoint}: the token may not write to {repo} (403).",
            hint="Give a token that may write, and a repository of your own or of an organization that you belong to.",
        )
    reason = " ".join(str(getattr(error, "server_message", None) or error).split())[:200]
    return HubError(f"{endpoint} refused {repo} ({status}): {reason}", hint="Check the names; or try again later.")
