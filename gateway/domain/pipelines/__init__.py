"""Pipelines: several templates in a row as one job. Pure.

`model` (what a pipeline is) · `reading` (its file) · `facing` (a pipeline as a template, so that it is listed, checked
and ordered like one) · `moves` (what is to be done next, from how the steps stand).
"""
