"""Phase 2: embeddings -> a model to draw from."""
