"""Phase 1: real Wikipedia articles as memories with real embeddings."""
