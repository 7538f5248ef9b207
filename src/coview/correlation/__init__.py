"""The correlation family: estimators with fit and transform, exact, streaming and over processes."""
