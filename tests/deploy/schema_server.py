"""A Terraform provider that knows its schema and nothing else.

Here: so much of Terraform's plugin protocol (version 6, docs/plugin-protocol in
github.com/hashicorp/terraform) that ``terraform validate`` and ``terraform test`` with mocked
providers work without a registry. Not here: the schemas (provider_schemas/), or what makes them
(extract_schemas.py).

Terraform does not start such a provider: it finds it by TF_REATTACH_PROVIDERS, as it finds one that
runs in a debugger.
"""

import json
import os
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

SCHEMAS = Path(__file__).parent / "provider_schemas"
ADDRESSES = {
    "aws": "registry.terraform.io/hashicorp/aws",
    "digitalocean": "registry.terraform.io/digitalocean/digitalocean",
    "hcloud": "registry.terraform.io/hetznercloud/hcloud",
}
LIST = 2
"""The protocol's number for blocks or objects that stand in a list."""
SINGLE = 1


def varint(number: int) -> bytes:
    """Return a number as protocol buffers write it."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: bytes | str | int) -> bytes:
    """Return one field of a message, with its number in front."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, kind: Any, *, required: bool = False, optional: bool = False) -> bytes:
    """Return an attribute: what may be left out, the provider may compute."""
    return (
        field(1, name)
        + field(2, json.dumps(kind))
        + field(4, int(required))
        + field(5, int(optional))
        + field(6, int(not required))
    )


def attributes(block: Mapping[str, Any]) -> list[bytes]:
    """Return the attributes of a block, with the objects among them."""
    objects = [(name, nested) for name, nested in block["blocks"].items() if not nested["is_block"]]
    return [
        *(attribute(name, kind, required=True) for name, kind in block["required"].items()),
        *(attribute(name, kind, optional=True) for name, kind in block["optional"].items()),
        *(attribute(name, kind) for name, kind in block.get("computed", {}).items()),
        *(
            field(1, name)
            + field(10, as_object(nested))
            + field(4, int(nested["at_least"] > 0))
            + field(5, int(nested["at_least"] == 0))
            for name, nested in objects
        ),
    ]


def as_object(nested: Mapping[str, Any]) -> bytes:
    """Return the type of an attribute that is an object, or a list of them."""
    within = b"".join(field(1, each) for each in attributes(nested))
    return within + field(3, SINGLE if nested["at_most"] == 1 else LIST)


def as_block(block: Mapping[str, Any]) -> bytes:
    """Return a block with its attributes and the blocks in it."""
    nested = b"".join(
        field(
            3,
            field(1, name)
            + field(2, as_block(within))
            + field(3, LIST)
            + field(4, within["at_least"])
            + field(5, within["at_most"]),
        )
        for name, within in block["blocks"].items()
        if within["is_block"]
    )
    return b"".join(field(2, each) for each in attributes(block)) + nested


def schema(block: Mapping[str, Any]) -> bytes:
    """Return the schema of a resource, a data source or the provider's own block."""
    return field(2, as_block(block))


def answer(schemas: Mapping[str, Any]) -> bytes:
    """Return what GetProviderSchema answers."""
    return field(1, schema(schemas["provider"])) + b"".join(
        field(number, field(1, name) + field(2, schema(block)))
        for number, kind in ((2, "resource"), (3, "data"))
        for name, block in schemas[kind].items()
    )


class Methods(grpc.GenericRpcHandler):
    """What Terraform may ask: the schema; everything is valid that the schema allows."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self.answers = {"GetProviderSchema": answer(schemas)} | dict.fromkeys(
            (
                "ValidateProviderConfig",
                "ValidateResourceConfig",
                "ValidateDataResourceConfig",
                "ConfigureProvider",
                "StopProvider",
            ),
            b"",
        )

    def service(self, handler_call_details: Any) -> Any:
        """Return the method of a path such as ``/tfplugin6.Provider/GetProviderSchema``."""
        _, service, method = handler_call_details.method.split("/")
        if service != "tfplugin6.Provider" or method not in self.answers:
            return None

        def answered(_request: bytes, _context: Any) -> bytes:
            return self.answers[method]

        return grpc.unary_unary_rpc_method_handler(answered)


@contextmanager
def schema_servers() -> Generator[dict[str, str]]:
    """Serve all providers, and yield the variable by which Terraform finds them."""
    servers: list[Any] = []
    found: dict[str, Any] = {}
    for name, address in ADDRESSES.items():
        server = grpc.server(ThreadPoolExecutor(max_workers=4))
        schemas = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
        server.add_generic_rpc_handlers((Methods(schemas),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        found[address] = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps(found)}
    finally:
        for server in servers:
            server.stop(None)
