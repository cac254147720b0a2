"""The recipe a user writes, read strictly, and the plan it resolves to."""
