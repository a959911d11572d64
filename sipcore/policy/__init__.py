"""The operator's wishes as decisions: pure functions, tables and generators that say why (SPEC A-D)."""
