"""What attention says: a model read while it runs, and passages ranked by what it looks at.

    from rerank.icr import InContextReranker
    from rerank.model import load_model

    reader = InContextReranker(load_model("smollm2-135m"))
    reading = reader.read("who built it?", ["passage one", "passage two"])
    print(reading.scores)

Usable alone: a question and texts in, scores out. The room knows nothing of indexes, TREC or HTTP. Its
modules are imported by name, for torch takes seconds to load and errors need none of it.
"""
