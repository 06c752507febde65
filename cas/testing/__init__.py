"""What tests of cas and of its extensions share. It ships, and nothing in cas imports it.

`cas.testing.storage_conformance` holds any storage backend to its promises;
`cas.testing.faults` has storages that crash, fail or count on purpose.
"""
