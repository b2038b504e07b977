"""What can go wrong with a corpus or an index.

    IndexesError
    ├── CorpusError       a corpus that cannot be read: names the file, the line and what is wrong there
    ├── SearchError       a search that cannot be run as asked (k, threads, a part the index lacks)
    ├── IndexNotFound     no index of this name or path
    ├── PassageNotFound   no passage of this docid in an index
    ├── IndexBroken       half-built, damaged, or made by another version
    ├── IndexExists       the name is taken and nobody asked to replace it
    ├── EncoderNotFound   no text encoder of this name or path
    ├── DiskFull          not enough room to build; nothing is left behind
    └── JavaMissing       no Java that Lucene can run on

Every message names the value at fault and the way out.
"""


class IndexesError(Exception):
    """Root of this room's errors."""


class CorpusError(IndexesError):
    """A corpus that cannot be read: names the file, the line and what is wrong there."""


class SearchError(IndexesError):
    """A search that cannot be run as asked."""


class IndexNotFound(IndexesError):
    """No index of this name or path."""


class PassageNotFound(IndexesError):
    """No passage of this docid in an index."""


class IndexBroken(IndexesError):
    """An index that is half-built, damaged, or made by another version."""


class IndexExists(IndexesError):
    """The name is taken and nobody asked to replace it."""


class EncoderNotFound(IndexesError):
    """No text encoder of this name or path."""


class DiskFull(IndexesError):
    """Not enough room to build; nothing is left behind."""


class JavaMissing(IndexesError):
    """No Java that Lucene can run on."""
