"""Gives each instance a network namespace with a private address, made by CNI plugins."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from windlass.runtime.oci import subnet
from windlass.runtime.oci.commands import SEARCHED, CommandFailed, run, to_its_end
from windlass.runtime.oci.kernel import unmount

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.runtime.oci.launcher import Launcher
    from windlass.runtime.oci.parts import Parts


@dataclass(frozen=True, slots=True)
class Attachment:
    """A network namespace that is connected to the bridge."""

    name: str
    netns: Path
    address: str


class _Interface(msgspec.Struct):
    name: str
    sandbox: str = ""


class _Address(msgspec.Struct):
    address: str


class _Result(msgspec.Struct):
    """What a CNI plugin answers to ADD; see the CNI specification 1.0.0."""

    interfaces: list[_Interface]
    ips: list[_Address]


class Network:
    """The bridge of one state, its addresses, and the namespaces on it."""

    def __init__(
        self,
        folder: Path,
        state_id: str,
        parts: Parts,
        launcher: Launcher,
        ports: tuple[int, ...],
    ) -> None:
        """Keep all files in `folder`; namespaces are mounted where the launcher is."""
        self.bridge = subnet.name_of(state_id)
        self._state_id, self._parts, self._launcher = state_id, parts, launcher
        self._netns, self._leases = folder / "netns", folder / "leases"
        self._chosen = folder / "subnet"
        self._ports = ports
        self._conf = b""
        self._addresses: dict[str, str] = {}  # by name, of the namespaces made here

    async def open(self) -> None:
        """Write the firewall's rules.

        Raises:
            CommandFailed: the firewall refused.
            subnet.NoFreeSubnet: no private addresses are left on this machine.
        """
        self._netns.mkdir(parents=True, exist_ok=True)
        network = self._subnet()
        self._conf = msgspec.json.encode(_conf(self.bridge, network, self._leases))
        ports, saved = self._ports, await self._saved_rules()
        await self._restore_rules(subnet.rules(self.bridge, network, ports, saved))

    async def close(self) -> None:
        """Remove bridge and rules; no instance may be left."""
        with contextlib.suppress(CommandFailed):  # never made, or gone with a restart
            await run(self._parts.ip, "link", "delete", self.bridge)
        await self._restore_rules(subnet.removal(self.bridge, await self._saved_rules()))

    async def make(self) -> Attachment:
        """Make a namespace with an address of its own.

        Raises:
            CommandFailed, OSError: it could not be made.
        """
        name = token_hex(6)
        path = self._netns / name
        path.touch()
        try:
            await run(
                *(self._parts.unshare, f"--net={path}"),
                *(self._parts.ip, "link", "set", "lo", "up"),
                launcher=self._launcher,
            )
            # A plugin that is killed leaves one of its own behind, which goes on taking an address.
            result = msgspec.json.decode(await to_its_end(self._add(name)), type=_Result)
        except BaseException:
            self.release(name)
            raise
        veth = next(i.name for i in result.interfaces if not i.sandbox and i.name != self.bridge)
        _isolate(veth, self.bridge)
        address = self._addresses[name] = result.ips[0].address.partition("/")[0]
        return Attachment(name, path, address)

    def release(self, name: str) -> None:
        """Remove a namespace and free its address; no fault if it is gone.

        What the plugins' DEL comes down to, without their two programs: the kernel removes both
        ends of a veth pair with the namespace, and an address is taken while its file is there.
        """
        path = self._netns / name
        self._launcher.call(unmount, path)
        path.unlink(missing_ok=True)
        if address := self._addresses.pop(name, None):
            (self._leases / self.bridge / address).unlink(missing_ok=True)
        else:  # half-made, or made by an earlier platform
            self._free(lambda holder: holder == name)

    def names(self) -> set[str]:
        """Return the namespaces that have a file here, living or not."""
        return {path.name for path in self._netns.iterdir()}

    def free_leases(self, living: set[str]) -> None:
        """Free the addresses of all namespaces but these: a crash keeps them reserved."""
        self._free(lambda holder: holder not in living)

    def _free(self, is_free: Callable[[str], bool]) -> None:
        for lease in (self._leases / self.bridge).glob("[0-9]*"):
            if is_free(lease.read_text().split()[0]):
                lease.unlink()

    async def _add(self, name: str) -> bytes:
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": name,
            "CNI_NETNS": str(self._netns / name),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self._parts.cni),
            "PATH": SEARCHED,
        }
        return await run(
            self._parts.cni / "bridge", given=self._conf, env=env, launcher=self._launcher
        )

    def _subnet(self) -> IPv4Network:
        if self._chosen.exists():
            return IPv4Network(self._chosen.read_text())
        taken = subnet.routes(Path("/proc/net/route").read_text())
        network = subnet.choose(self._state_id, taken)
        self._chosen.write_text(str(network))
        return network

    async def _saved_rules(self) -> str:
        return (await run(f"{self._parts.iptables}-save")).decode()

    async def _restore_rules(self, text: str) -> None:
        restore = f"{self._parts.iptables}-restore"
        await run(restore, "--noflush", "--wait", given=text.encode())


def _isolate(veth: str, bridge: str) -> None:
    # Instances do not see each other, not even by forged frames.
    Path(f"/sys/class/net/{veth}/brport/isolated").write_text("1")
    # No rule of ours covers IPv6: the bridge has none.
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6").write_text("1")


def _conf(bridge: str, network: IPv4Network, leases: Path) -> dict[str, object]:
    # Masquerade and the firewall stand once for the whole bridge, not once for each instance:
    # the plugins' own rules would cost each start several runs of iptables.
    return {
        "cniVersion": "1.0.0",
        "name": bridge,
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": os.fspath(leases),
            "ranges": [[{"subnet": str(network)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
