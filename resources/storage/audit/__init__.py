"""The audit log: the deeds of people and runs, chained by hashes, anchored in a locked bucket."""

from resources.storage.audit.log import AuditLog, Deed, record

__all__ = ["AuditLog", "Deed", "record"]
