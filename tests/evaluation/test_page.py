"""The page shows every figure, says what is missing, and breaks on no name."""

import json
from html.parser import HTMLParser

from oyster_jax.evaluation.page import write_page

REPORT = {
    "frames": 30,
    "world": {"psnr": {"mean": 20.5, "p5": 11.25}, "ssim": {"mean": 0.75, "p5": None}},
    "prompt <b> & more": {"changes": 2, "accuracy": [1.0, 0.5]},
    "effects": {"light": {"told_apart": 8, "delta": {"low": 0.125}}},
}


class Words(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words, self.open, self.files = [], [], []

    def handle_starttag(self, tag, attrs):
        self.files += [v for k, v in attrs if k == "src"]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data.strip()] if data.strip() and "style" not in self.open else []


def read(folder):
    words = Words()
    words.feed((folder / "index.html").read_text())
    assert not words.open
    return words


def test_every_figure_is_on_the_page(tmp_path):
    write_page(tmp_path, "a <world>", REPORT, ["a.mp4"], ["b.png", "c.png"])
    page = read(tmp_path)
    assert page.files == ["a.mp4", "b.png", "c.png"]
    shown = {"a <world>", "20.5", "11.25", "0.75", "?", "prompt <b> & more", "1, 0.5", "8", "0.125", "30"}
    assert shown <= set(page.words)


def test_parts_with_the_same_figures_share_a_table(tmp_path):
    write_page(tmp_path, "t", REPORT, [], [])
    words = read(tmp_path).words
    assert words.count("mean") == 1 and words.count("p5") == 1
    assert words.index("psnr") < words.index("20.5") < words.index("ssim") < words.index("0.75")


def test_an_empty_part_is_no_fault(tmp_path):
    write_page(tmp_path, "t", json.loads('{"nothing": {}, "some": {"x": 1}}'), [], [])
    assert "nothing" in read(tmp_path).words
