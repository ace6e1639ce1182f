"""Who an instance runs as."""

from __future__ import annotations

import pytest

from windlass.runtime.oci.users import Identity, UnknownUser, identity

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/:\nnologin\nbad:x:no:no::/:\n"
GROUP = "root:x:0:\nweb:x:1001:\nextra:x:1007:other,web\nmore:x:1008:webmaster\nshort:x:9\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (0,))),
        ("root", Identity(0, 0, (0,))),
        ("web", Identity(1000, 1001, (1001, 1007))),
        ("1000", Identity(1000, 1001, (1001, 1007))),
        ("1000:5", Identity(1000, 5, (5,))),
        ("web:extra", Identity(1000, 1007, (1007,))),
        ("web:1007", Identity(1000, 1007, (1007,))),
        ("4321", Identity(4321, 0, (0,))),
        ("4321:root", Identity(4321, 0, (0,))),
    ],
)
def test_a_user_is_looked_up_as_docker_does(user: str, expected: Identity) -> None:
    assert identity(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["nobody", "bad", "web:staff"])
def test_a_name_that_the_image_does_not_know_is_refused(user: str) -> None:
    with pytest.raises(UnknownUser):
        identity(user, PASSWD, GROUP)


def test_an_image_without_tables_runs_as_root_or_a_number() -> None:
    assert identity("", "", "") == Identity(0, 0, (0,))
    assert identity("65532:65532", "", "") == Identity(65532, 65532, (65532,))
