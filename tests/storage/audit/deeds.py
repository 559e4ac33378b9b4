"""What the tests of the audit log write into it, and what a superuser makes of that.

Here: deeds and statements. Not here: fixtures (conftest.py).
"""

from marketdata.audit import Action
from resources.storage.audit import Deed

ROWS = 10
"""Rows of the fixture ``log``, after those of the migrations."""

NOBODY = """
update audit_log
set who = 'nobody', canonical = jsonb_set(canonical::jsonb, '{who}', '"nobody"')::text
where id = 5
"""
"""Another name in row 5, in its column and in its text."""

REHASH = """
do $$
declare
    v_row record;
    v_previous bytea := decode(repeat('00', 32), 'hex');
begin
    for v_row in select * from audit_log order by id loop
        v_row.canonical := jsonb_set(
            v_row.canonical::jsonb, '{previous_hash}', to_jsonb(encode(v_previous, 'hex'))
        )::text;
        update audit_log
        set
            canonical = v_row.canonical,
            previous_hash = v_previous,
            hash = sha256(convert_to(v_row.canonical, 'UTF8'))
        where id = v_row.id;
        v_previous := sha256(convert_to(v_row.canonical, 'UTF8'));
    end loop;
    update audit_head set last_hash = v_previous, last_id = (select max(id) from audit_log);
end $$
"""
"""All hashes and the head made to fit: by a superuser who knows how the log works."""

CUT = """
delete from audit_log where id > 5;
update audit_head set (last_id, last_hash) = (
    select id, hash from audit_log order by id desc limit 1
)
"""
"""All rows after the fifth gone, and the head set back: as after a restore to an earlier moment."""


def deed(number: int, *, action: Action = Action.LETTERS_DISCARDED) -> Deed:
    """Return a deed of somebody."""
    return Deed(
        action=action, who="ada@desk", subject=f"letter {number}", details={"number": number}
    )
