"""Writes provider_schemas/ anew: what Terraform's providers call their arguments, and their types.

Here: the bindings that HashiCorp made from the providers' schemas and put on PyPI, read by ``ast``
without importing them. Not here: hcloud, of which there are none: its file is written by hand from
the provider's pages; or what asks these files (schema_server.py).

By hand, where a resource was added to deploy/terraform::

    pip download --no-deps cdktf-cdktf-provider-aws==21.22.1
    pip download --no-deps cdktf-cdktf-provider-digitalocean==13.14.1
    .venv/bin/python -m tests.deploy.extract_schemas aws cdktf_cdktf_provider_aws-*.whl
    .venv/bin/python -m tests.deploy.extract_schemas digitalocean cdktf_cdktf_provider_d*.whl

The bindings do not say which arguments are sensitive, whether a list is a set, and which optional
arguments the provider fills in itself: all lists are lists here, and all optional arguments are.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TERRAFORM = HERE.parents[1] / "deploy" / "terraform"
USED = re.compile(r'^(resource|data) "(\w+)"', re.MULTILINE)
META = frozenset(
    ("connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners")
)
PLAIN = {
    "builtins.str": "string",
    "jsii.Number": "number",
    "builtins.bool": "bool",
    "typing.Any": "dynamic",
    "_cdktf_9a9027ec.IResolvable": "bool",
}
STRUCT = re.compile(
    r"typing\.Union\[['\"]?(\w+)['\"]?, typing\.Dict\[builtins\.str, typing\.Any\]\]"
)
COLLECTIONS = {"typing.Sequence": "list", "typing.List": "list", "typing.Mapping": "map"}


def type_of(text: str) -> Any:
    """Return Terraform's type of an annotation, such as ``["list", "string"]``."""
    text = text.removeprefix("typing.Optional[").removesuffix("]" * text.startswith("typing.Opt"))
    text = re.sub(r"^typing\.Union\[(.*), _cdktf_\w+\.IResolvable\]$", r"\1", text)
    text = re.sub(r"^typing\.Union\[_cdktf_\w+\.IResolvable, (.*)\]$", r"\1", text)
    outer, _, inner = text.partition("[")
    if outer in COLLECTIONS:
        part = (
            inner[:-1].removeprefix("builtins.str, ") if outer == "typing.Mapping" else inner[:-1]
        )
        return [COLLECTIONS[outer], type_of(part)]
    return PLAIN.get(text, "dynamic")


class Bindings:
    """The module of one resource: its classes by name."""

    def __init__(self, source: str) -> None:
        self.classes = {
            node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)
        }

    def block(self, class_name: str) -> dict[str, Any]:
        """Return the arguments and the nested blocks that a class takes."""
        made = next(
            node
            for node in self.classes[class_name].body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        )
        pages = ast.get_docstring(made, clean=False) or ""
        block: dict[str, Any] = {"required": {}, "optional": {}, "blocks": {}}
        for argument, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True):
            assert argument.annotation is not None
            text = ast.unparse(argument.annotation)
            needed = default is None
            if argument.arg in META and "_cdktf_" in text:
                continue
            struct = STRUCT.search(text)
            if struct is None:
                block["required" if needed else "optional"][argument.arg] = type_of(text)
                continue
            nested = self.block(struct[1])
            nested["at_least"] = int(needed)
            nested["at_most"] = 0 if "typing.Sequence" in text else 1
            nested["is_block"] = f":param {argument.arg}: {argument.arg} block." in pages
            block["blocks"][argument.arg] = nested
        return block

    def whole(self, class_name: str) -> dict[str, Any]:
        """Return a resource's block with what the provider alone computes."""
        block = self.block(f"{class_name}Config")
        known = block["required"].keys() | block["optional"].keys() | block["blocks"].keys()
        computed: dict[str, Any] = {}
        for node in self.classes[class_name].body:
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                is_property = any(
                    "builtins.property" in ast.unparse(d) for d in node.decorator_list
                )
                if is_property and node.name not in known and not node.name.endswith("_input"):
                    text = ast.unparse(node.returns)
                    computed[node.name] = (
                        ["list", "dynamic"] if text.endswith("List'") else type_of(text)
                    )
        return block | {"computed": computed}


def module_of(kind: str, type_name: str) -> str:
    """Return the bindings' folder of a resource or data source."""
    provider, _, name = type_name.partition("_")
    return f"data_{provider}_{name}" if kind == "data" else name


def class_of(bindings: Bindings, ending: str = "Config") -> str:
    """Return the name of the resource's class: it has a ``…Config`` beside it."""
    return next(
        name.removesuffix(ending)
        for name, node in bindings.classes.items()
        if name.endswith(ending)
        and any("TerraformMetaArguments" in ast.unparse(b) for b in node.bases)
    )


def extract(provider: str, wheel: Path) -> dict[str, Any]:
    """Return the schemas of a provider's resources that deploy/terraform has."""
    used = {
        found.groups()
        for file in TERRAFORM.rglob("*.tf")
        for found in USED.finditer(file.read_text("utf-8"))
        if found[2].startswith(f"{provider}_")
    }
    schemas: dict[str, Any] = {"resource": {}, "data": {}}
    with zipfile.ZipFile(wheel) as archive:
        package = f"cdktf_cdktf_provider_{provider}"
        about = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        version = re.search(r"provider version ([\d.]+)", archive.read(about).decode())
        assert version is not None
        for kind, type_name in sorted(used):
            path = f"{package}/{module_of(kind, type_name)}/__init__.py"
            bindings = Bindings(archive.read(path).decode())
            schemas[kind][type_name] = bindings.whole(class_of(bindings))
        # A provider's own block has no meta-arguments, and one class of its own.
        bindings = Bindings(archive.read(f"{package}/provider/__init__.py").decode())
        name = next(name for name in bindings.classes if name.endswith("ProviderConfig"))
        configuration = bindings.block(name)
        configuration["optional"].pop("alias", None)
    return {
        "version": version[1],
        "source": f"PyPI {wheel.name}",
        "provider": configuration,
        **schemas,
    }


if __name__ == "__main__":
    asked, file = sys.argv[1:]
    text = json.dumps(extract(asked, Path(file)), indent=1, sort_keys=True)
    (HERE / "provider_schemas" / f"{asked}.json").write_text(text + "\n", "utf-8")
