"""Names of the tables that lie beside a trained model's weights, for writers and readers alike."""

from typing import Final

HISTORY_FILE: Final = "history.json"
"""What was followed while it was trained, a row per tick."""
STANDINGS_FILE: Final = "standings.json"
"""Where a child stood at each snapshot, and which one was kept by which rule."""
MATCHED_FILE: Final = "matched.json"
"""Which of its images a child was trained on, where the parent was to draw the like of them."""
COVERAGE_FILE: Final = "coverage.json"
"""How much of its data's spread a parent drew at each snapshot."""
