"""Phase 3: (spec, row range) -> memories. Pure: no clock, files of its own, environment or processes."""
