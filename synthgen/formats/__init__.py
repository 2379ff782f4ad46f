"""Memories to bytes and back: JSON lines, manifests. Imports neither ingest nor generate."""
