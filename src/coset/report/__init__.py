"""From records to pages: tables and the self-contained HTML report. No computation, no torch module."""
