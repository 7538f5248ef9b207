"""Whether a file is called as its kind is."""

from __future__ import annotations

from coview.media.container import Media

# Extensions beyond those that the format itself declares.
_ALSO_CALLED = {
    "mov": {"m4v", "qt"},
    "mpegts": {"ts", "mts", "m2ts"},
    "mpeg": {"mpg", "mpeg", "vob"},
    "wav": {"wav", "wave"},
    "ogg": {"oga", "ogv", "opus", "spx"},
    "asf": {"wmv", "wma", "asf"},
    "avi": {"divx"},
    "aac": {"adts"},
}
_STILLS_CALLED = {
    "jpeg": {"jpg", "jpeg", "jpe", "jfif", "mpo"},
    "png": {"png", "apng"},
    "webp": {"webp"},
    "bmp": {"bmp", "dib"},
    "gif": {"gif"},
    "avif": {"avif", "avifs"},
    "heic": {"heic", "heif", "hif"},
}


def film_is_called_so(media: Media) -> bool:
    """Tell whether a film's or a sound's extension is one of its format."""
    usual = _ALSO_CALLED.get(media.format, set()) | set(media.container.format.extensions)
    return not usual or media.path.suffix.lower().lstrip(".") in usual


def still_is_called_so(suffix: str, codec: str) -> bool:
    """Tell whether a still picture's extension (".JPG") is one of its codec."""
    return suffix.lower().lstrip(".") in _STILLS_CALLED[codec]
