#!/usr/bin/env python3
"""Renders the two samples that are not plain text from their Markdown sources.

    pip install markdown python-docx weasyprint
    apt-get install fonts-liberation libpango-1.0-0 libpangoft2-1.0-0
    python3 samples/src/render.py
"""

import datetime
import pathlib

import docx
import docx.shared
import markdown
import weasyprint

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parent
DATE = datetime.datetime(2026, 1, 1)

CSS = """
@page {
  size: A4; margin: 28mm 27mm 26mm;
  @top-center { content: "The Making of Paper"; font: italic 9.5pt "Liberation Serif"; }
  @bottom-center { content: counter(page); font: 9.5pt "Liberation Serif"; }
}
html { font: 11pt/1.42 "Liberation Serif"; font-variant-ligatures: none; text-align: justify; }
h1 { font-size: 24pt; text-align: left; margin: 0 0 4mm; }
h1 + p { font-style: italic; text-align: left; margin-bottom: 10mm; }
h2 { font-size: 15pt; text-align: left; margin: 8mm 0 3mm; break-after: avoid; }
p { margin: 0 0 2.2mm; orphans: 2; widows: 2; }
"""


def pdf(name: str) -> None:
    text = (HERE / f"{name}.md").read_text(encoding="utf-8")
    title = text.splitlines()[0].removeprefix("# ")
    page = (
        f'<html lang="en"><head><title>{title}</title>'
        f'<meta name="author" content="The Quire contributors">'
        f'<meta name="dcterms.created" content="{DATE:%Y-%m-%d}"></head>'
        f"<body>{markdown.markdown(text)}</body></html>"
    )
    weasyprint.HTML(string=page).write_pdf(
        SAMPLES / f"{name}.pdf", stylesheets=[weasyprint.CSS(string=CSS)], pdf_identifier=name.encode()
    )


def word(name: str) -> None:
    text = (HERE / f"{name}.md").read_text(encoding="utf-8")
    document = docx.Document()
    document.styles["Normal"].font.name = "Liberation Serif"
    document.styles["Normal"].font.size = docx.shared.Pt(11)
    for block in filter(None, (part.strip() for part in text.split("\n\n"))):
        marks, _, heading = block.partition(" ")
        if marks == "#":
            document.add_heading(heading, level=0)
            document.core_properties.title = heading
        elif marks == "##":
            document.add_heading(heading, level=1)
        else:
            document.add_paragraph(block)
    core = document.core_properties
    core.author, core.language, core.comments = "The Quire contributors", "en", ""
    core.created = core.modified = DATE
    document.save(SAMPLES / f"{name}.docx")


if __name__ == "__main__":
    pdf("the-making-of-paper")
    word("how-a-book-is-bound")
