"""One file per data set or generator; data know no model."""
