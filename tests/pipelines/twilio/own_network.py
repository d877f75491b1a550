"""Run in a network, and with a hosts file, of its own: fetches contents from hosts with all kinds of addresses.

    unshare --user --map-root-user --net --mount python -m tests.pipelines.twilio.own_network FOLDER

Prints one JSON object: what each case ended with, and the addresses of storage that were connected to meanwhile.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from pipelines.errors import SourceError
from pipelines.twilio.client import Credential, Tuning, connect
from pipelines.twilio.storage_url import parse_networks
from tests.pipelines.twilio.made_up import AC, RE, SECRET, XH, XR
from tests.pipelines.twilio.sockets import RawServer, reply, serving

PUBLIC, PRIVATE, CARRIER, VPN, METADATA = "93.184.216.34", "10.1.2.3", "100.64.0.5", "198.18.0.7", "169.254.169.254"
NAT64_PUBLIC, NAT64_PRIVATE, UNIQUE_LOCAL = "64:ff9b::5db8:d822", "64:ff9b::a01:203", "fd12:3456::7"

HOSTS: dict[str, tuple[str, ...]] = {
    "public.test": (PUBLIC,),
    "private.test": (PRIVATE,),
    "carrier.test": (CARRIER,),
    "vpn.test": (VPN,),
    "local.test": (UNIQUE_LOCAL,),
    "metadata.test": (METADATA,),
    "nat64.test": (NAT64_PUBLIC,),
    "nat64-private.test": (NAT64_PRIVATE,),
    "mixed.test": (PRIVATE, PUBLIC),
    "both.test": (NAT64_PUBLIC, PRIVATE),
}
"""Names and all their addresses."""

CASES: dict[str, tuple[str, str]] = {
    **{host: (host, "") for host in HOSTS},
    "private.test named": ("private.test", "10.0.0.0/8"),
    "carrier.test named": ("carrier.test", "100.64.0.0/10"),
    "vpn.test named": ("vpn.test", "198.18.0.0/15"),
    "local.test named": ("local.test", "fd12:3456::/48"),
    "nat64-private.test named": ("nat64-private.test", "10.0.0.0/8"),
    "metadata.test named": ("metadata.test", "169.0.0.0/8"),
    "another network named": ("private.test", "10.9.0.0/16"),
}
"""A host, and EXPORT_STORAGE_NETWORKS."""


def set_up(folder: Path) -> None:
    """Give this network's only interface all addresses, and this process a hosts file with the names."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in sorted({address for addresses in HOSTS.values() for address in addresses}):
        subprocess.run(["ip", "address", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo"], check=True)
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{address}\t{name}\n" for name, those in HOSTS.items() for address in those))
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


async def outcome(host: str, networks: str, port: int) -> str:
    """What fetching a content that is stored at a host ends with."""

    def api(head: bytes) -> bytes:
        return reply(b"{}", f"Location: http://{host}:{port}/signed", status="307 Temporary Redirect")

    async with serving(api) as server:
        client = connect(
            AC,
            Credential(AC, SECRET),
            base_url=server.url,
            tuning=Tuning(budget=0.0, unanswered_budget=0.0, api_deadline=20.0, content_deadline=20.0),
            networks=parse_networks(networks),
        )
        async with client:
            try:
                return (await client.content(RE, XR, XH)).data.decode()
            except SourceError as error:
                return str(error)


async def outcomes() -> dict[str, tuple[str, list[str]]]:
    """Every case, and where storage was connected to."""
    met: list[str] = []
    raw = RawServer(lambda _: reply(b"content"))

    async def storage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer.get_extra_info("sockname")[0])
        await raw.serve(reader, writer)

    found = {}
    listener = await asyncio.start_server(storage, ["0.0.0.0", "::"], 8080)  # in a network of its own
    async with listener:
        for name, (host, networks) in CASES.items():
            met.clear()
            found[name] = (await outcome(host, networks, 8080), [*met])
        for writer in raw.open.values():
            writer.close()
    return found


if __name__ == "__main__":
    set_up(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(asyncio.run(outcomes())))
