"""Shape of data: complexes, persistence, Laplacians, sheaves, graphlets. Systems of later issues move in here."""
