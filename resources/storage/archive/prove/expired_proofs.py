"""Proofs that outlive the snapshot that committed them, as properties of the table.

Here: their form. Not here: the proof itself (proofs.py), or when snapshots expire (../maintain).
"""

from collections.abc import Mapping

from resources.storage.archive.prove.proofs import CommittedProof, proofs_in

_PREFIX = "wrdata.expired."


def as_table_property(committed: CommittedProof) -> tuple[str, str]:
    """Return name and value: ``wrdata.expired.<snapshot>.`` and the snapshot's property."""
    name, value = committed.proof.as_property()
    return f"{_PREFIX}{committed.snapshot_id}.{name}", value


def expired_proofs_in(properties: Mapping[str, str]) -> dict[str, CommittedProof]:
    """Return the proofs that a table's properties carry, by the property's name."""
    proofs: dict[str, CommittedProof] = {}
    for name, value in properties.items():
        if name.startswith(_PREFIX):
            snapshot_id, _, carried = name.removeprefix(_PREFIX).partition(".")
            (proof,) = proofs_in({carried: value})
            proofs[name] = CommittedProof(proof=proof, snapshot_id=int(snapshot_id))
    return proofs
