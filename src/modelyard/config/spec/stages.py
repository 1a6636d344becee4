"""The model's name and kind, and the stages that a version passes."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from modelyard.config.spec.types import Duration, Part, Slug
from modelyard.signature import ProblemType


class Model(Part):
    name: Slug = Field(description="The model's name: lower-case letters, digits and dashes.")
    problem_type: ProblemType
    owner: str | None = Field(None, description="Whom to ask about this model.")
    intended_use: str | None = Field(None, max_length=2000, description="What the model is for, and for whom; on its model card.")
    limitations: str | None = Field(
        None, max_length=2000, description="What it must not be used for, and what it cannot do; on its model card."
    )
    tags: dict[str, str] = Field(default_factory=dict)


class Approval(Part):
    required: bool = Field(True, description="A person's word is needed before a version enters this stage.")
    allow_self: bool = Field(False, description="Whoever asked for a deployment may also approve it (local target only).")
    expires: Duration = timedelta(days=7)
    retrained: Literal["required", "not_required"] = Field("required", description="Whether a retrained version needs one too.")


class Tls(Part):
    """Files of the endpoint's certificate (with its chain) and private key, PEM; renewed files are taken up by themselves."""

    certificate: str
    key: str


class Staging(Part):
    """Where a version is tried before production."""

    target: Literal["local"] = "local"
    host: str = Field("127.0.0.1", description="Address that the endpoint listens on; one beyond this machine needs `tls` and `keys`.")
    port: int = Field(0, ge=0, le=65535, description="Port of the endpoint; 0 picks a free one and keeps it.")
    names: tuple[str, ...] = Field((), description="Further names that callers may use for the endpoint (their Host header).")
    tls: Tls | None = None
    keys: bool = Field(False, description="Callers need an API key (`modelyard keys`).")
    approval: Approval = Approval(required=False)


class Production(Staging):
    """Where a version answers for real."""

    approval: Approval = Approval()


class Environments(Part):
    """The stages a version passes, in order, and who lets it in."""

    staging: Staging = Staging()
    production: Production = Production()
