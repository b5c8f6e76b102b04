"""The array API standard 2024.12, held against array-api-strict."""
