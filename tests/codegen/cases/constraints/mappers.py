"""What the values of mapped fields may be."""

EXAMPLES = {"Constraints.mapped": [[], ["a"], ["a", "b"]]}
