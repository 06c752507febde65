"""One module a schema version; their numbers rise, and a released one never changes."""
