"""What the model sees of a row, shared by the tools that train and evaluate. This module is no tool."""

FEATURES = [
    "engines",
    "passenger_capacity",
    "d_check_complete",
    "iata_approved",
    "company_rating",
    "review_scores_rating",
]
