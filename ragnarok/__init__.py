"""The pipeline: retrieve, re-rank by attention, answer with every sentence attributed.

Three seams (`ragnarok.seams`) joined by `ragnarok.pipeline`; batch runs in TREC's forms; the command line.
"""
