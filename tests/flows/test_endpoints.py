from __future__ import annotations

import pytest

from modelyard.config.spec import Realtime
from modelyard.flows import endpoints


@pytest.mark.parametrize(("port", "production", "staging"), [(None, None, None), (0, 0, 0), (9000, 9000, 0)])
def test_production_and_staging_never_share_a_grpc_port(port: int | None, production: int | None, staging: int | None) -> None:
    realtime = Realtime(grpc_port=port)
    assert endpoints._grpc_port(realtime, "production") == production
    assert endpoints._grpc_port(realtime, "staging") == staging
