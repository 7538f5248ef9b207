"""Flickr-SoundNet (Aytar et al. 2016): unlabelled videos of Flickr, chosen by lists of their numbers.

The variant names the list: "flickr-soundnet:10k" reads flickr_10k.txt, as in work on localising sounds; without one,
every media file below the folder is taken.
"""

from __future__ import annotations

from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.folder import make_folder
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Lists of URLs and links to the videos are at http://soundnet.csail.mit.edu/; the folder holds the videos, called "
    "by their numbers, at any depth, and flickr_10k.txt, flickr_144k.txt or flickr_test.txt with one number or path on "
    "each line."
)
OFFICIAL = {"10k": 10000, "144k": 144000, "test": 250}


def make(out: Path, options: Options) -> Made:
    """Return the items; those of flickr_test.txt are the test split, all others training.

    Raises:
        UsageError: missing list, unknown variant, or no file at all.
    """
    download = Download("flickr-soundnet", options, WHERE)
    if not options.variant:
        return make_folder(download.root, follow_links=options.follow_links)
    if options.variant not in OFFICIAL:
        raise UsageError(f"flickr-soundnet:{options.variant}: expected one of {', '.join(OFFICIAL)} after the colon")
    for line in download.lines(f"flickr_{options.variant}.txt"):
        stem = Path(line.split()[0]).stem
        item = {"id": stem, "split": "test" if options.variant == "test" else "train"}
        download.add(options.variant, download.find(stem), f"{stem}.mp4", item)
    return download.made({options.variant: OFFICIAL[options.variant]}, options)
