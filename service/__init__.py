"""The doors: a REST endpoint and a page to ask from, over the pipeline of `ragnarok`."""
