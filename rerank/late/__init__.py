"""Late attention: documents read once and alone, queries matched against their keys.

The query never sees a document and a document never sees another, so a score depends on the query and the
document and on nothing else; a document's keys are kept and used again.
"""
