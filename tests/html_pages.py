"""Pages as a browser takes them apart: for tests that look into what `slhmc compare` and `slhmc report` write."""

from html.parser import HTMLParser

KEYS_OF_ADDRESSES = {"src", "href", "xlink:href", "action", "data", "srcset", "poster"}


class Page(HTMLParser):
    """Tags that are open, all tags, attributes by name, words; every tag that is opened must be closed in turn."""

    void = frozenset({"meta", "img", "br", "wbr", "link"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], {}, []
        self.feed(text)
        self.close()

    @property
    def addresses(self):
        """All that the page asks for or leads to."""
        return [value for key in KEYS_OF_ADDRESSES for value in self.attributes.get(key, [])]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            self.attributes.setdefault(key, []).append(value)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
