"""Measure: instruments that take models or data and return findings, which save, load and plot themselves."""
