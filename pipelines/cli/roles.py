"""wrdata roles: the database's roles.

Here: the commands and their output. Not here: what each role may do (resources/storage/roles.py).
"""

from typing import Annotated

import typer

from pipelines.cli import console, environment
from resources.settings import read_settings
from resources.storage import roles
from resources.storage.roles import PURPOSES

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Sql = Annotated[
    bool, typer.Option("--sql", help="Print the statements for an administrator; change nothing.")
]


def listed(json: Json = False) -> None:
    """List the roles: what each is for, whether it exists, and whether its privileges are right."""
    environment.enter(environment.surroundings(writes=False), start=False)
    url = read_settings().database_url.get_secret_value()
    rows = [
        {
            "role": status.role.value,
            "for": PURPOSES[status.role],
            "exists": "yes" if status.exists else "no",
            "logs in": "yes" if status.logs_in else "no",
            "wrong privileges": status.differences,
        }
        for status in roles.status(url)
    ]
    owner = roles.owner(url)
    if json:
        console.print_json({"owner": owner, "roles": rows})
        return
    console.print_table(f"owner of the tables: {owner}", rows, by=("role",))


def create(sql: Sql = False) -> None:
    """Create the missing roles, without passwords, and give them their privileges."""
    environment.enter(environment.surroundings(writes=False), start=False)
    url = read_settings().database_url.get_secret_value()
    if sql:
        for statement in roles.creation(url):
            console.out.print(f"{statement};", markup=False)
        return
    created = roles.create(url)
    if not created:
        console.say("all roles exist")
    for role in created:
        console.say(rf"created {role.value}: set its password, in psql by \password {role.value}")
    roles.put_in_force(url)
