"""The Debian package tuxpaint-stamps-default, version 2022.06.04: every count and every trap of its data."""

from __future__ import annotations

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from coview.data.adapters import Made, Options, is_adapter, load_adapter
from coview.data.adapters.tuxpaint import make
from coview.data.adapters.tuxpaint_clips import clip_key, render_stamps, speech
from coview.data.adapters.tuxpaint_digits import spoken_digits
from coview.data.adapters.tuxpaint_groups import alike, listen
from coview.data.adapters.tuxpaint_items import PACKAGE, USUAL_FOLDER, Stamps, walk
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.errors import MediaError, UsageError
from coview.media.decode import read_audio
from coview.media.probe import probe

needs_package = pytest.mark.skipif(
    not USUAL_FOLDER.is_dir(), reason=f"needs the stamps of the Debian package {PACKAGE}: apt install {PACKAGE}"
)
package = [pytest.mark.tuxpaint, pytest.mark.slow, needs_package]  # the whole package is read: half a minute


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("none"), Options())


@pytest.fixture(scope="module")
def stamps() -> Stamps:
    return walk(USUAL_FOLDER)


def test_the_adapter_has_its_name_and_names_the_package_when_it_is_missing(tmp_path: Path) -> None:
    assert is_adapter("tuxpaint") and is_adapter("tuxpaint:fr") and load_adapter("tuxpaint:fr") is make
    for variant in ("", "fr", "digits"):
        with pytest.raises(UsageError, match=f"apt install {PACKAGE}"):
            make(tmp_path, Options(variant=variant, folder=tmp_path / "none"))


class TestThePackage:
    pytestmark = package

    def test_items(self, made: Made) -> None:
        report = made.report
        assert report["items"] == 949
        assert report["items with PNG"] == 785
        assert report["items as SVG only (not rendered)"] == 164
        assert report["items with PNG and SVG"] == 82
        assert report["core items"] == 791
        assert (report["nomirror"], report["noflip"]) == (271, 427)
        assert made.ignored["mirrored pictures"] == 11
        assert [line.split(":")[0] for line in report["refused files"]] == [
            "animals/insects/bee.svg",
            "food/loaf_of_bread.svg",
        ]
        assert report["difference from version 2022.06.04"] == {}

    def test_sounds(self, made: Made) -> None:
        report = made.report
        assert report["sound files"] == 7873
        assert (report["descriptions"], report["words"], report["effects"]) == (7384, 304, 134)
        assert report["orphans"] == len(report["orphan files"]) == 44
        assert sum("/gift" in name for name in report["orphan files"]) == 17
        assert report["silent effects"] == 4
        assert report["distinct recordings of descriptions"] == 6297
        assert report["items with a description"] == 924
        assert report["items with six descriptions or more"] == 907
        assert report["descriptions of core items"] == 6206
        assert len(made.items) == 7384 + 304 + 134

    def test_languages(self, made: Made, stamps: Stamps) -> None:
        assert made.report["descriptions by language, refused pictures included"] == {
            "fr": 925, "ro": 918, "ru": 918, "bg": 915, "ca": 915, "es": 888, "be": 692, "el": 657,
            "da": 322, "lt": 88, "nl": 67, "en": 65, "pt_BR": 15, "ml": 6,
        }  # fmt: skip
        assert sum(made.report["descriptions by language"].values()) == 7384
        captions = made.report["captions by language"]
        assert len(captions) == 78 and captions["en"] == 949
        assert sum(count >= 600 for count in captions.values()) == 66
        lengths = [len(item.captions["en"].split()) for item in stamps.items]
        assert (statistics.median(lengths), max(lengths)) == (3, 31)
        six = {"es", "ca", "fr", "ro", "ru", "bg"}
        assert sum(six <= item.descriptions().keys() for item in stamps.items if item.core) == 730

    def test_rates_and_channels(self, made: Made) -> None:
        assert made.report["sampling rates"] == {
            "44100": 7746, "22050": 49, "11025": 43, "8000": 23, "48000": 9, "22254": 1, "11127": 1, "5000": 1
        }  # fmt: skip
        assert made.report["channels"] == {"2": 5645, "1": 2228}

    def test_categories(self, made: Made) -> None:
        assert made.report["categories"] == {
            "symbols": 249, "animals": 154, "town": 80, "food": 73, "household": 73, "seasonal": 71, "vehicles": 58,
            "clothes": 48, "plants": 40, "people": 30, "space": 23, "hobbies": 17, "sports": 13, "military": 11,
            "medical": 6, "naturalforces": 3,
        }  # fmt: skip

    def test_groups_and_folds(self, made: Made) -> None:
        assert (made.report["groups"], made.report["core groups"]) == (723, 684)
        assert made.report["core items by fold"] == [174, 211, 200, 206]
        splits: dict[str | None, set[str | None]] = {}
        for item in made.items:
            splits.setdefault(item.group, set()).add(item.split)
        assert all(len(split) == 1 for split in splits.values())

    def test_a_sound_becomes_a_recording_with_what_is_known_about_it(self, made: Made) -> None:
        horse = next(item for item in made.items if item.id == "animals/mammals/equines/horse_desc_fr")
        assert (horse.caption, horse.label, horse.group) == ("Un cheval.", "animals", "animals/mammals/equines/horse")
        assert {"description", "language-fr", "core"} <= set(horse.flags)
        assert len({item.id for item in made.items}) == len(made.items)
        odd = next(item for item in made.items if str(item.path).endswith(".ogg.ogg"))
        assert odd.id == "town/monuments/inukshuk-photo_desc_da"

    def test_silent_effects_are_flagged_and_loud_ones_are_not(self) -> None:
        silent = (
            "animals/birds/nandou",
            "animals/lizards/iguana",
            "animals/mammals/giraffe",
            "animals/marsupials/wombat",
        )
        assert all("silent" in probe(USUAL_FOLDER / f"{name}.ogg").flags for name in silent)
        assert len({entry.packets for entry in listen(USUAL_FOLDER, [f"{name}.ogg" for name in silent]).values()}) == 1
        assert "silent" not in probe(USUAL_FOLDER / "animals/mammals/equines/horse.ogg").flags

    def test_every_odd_rate_is_resampled_at_its_true_speed(self, stamps: Stamps) -> None:
        heard = listen(USUAL_FOLDER, [sound.path for sound in stamps.sounds if sound.kind != "description"])
        found = {heard[path].rate: path for path in heard}
        assert {5000, 11127, 22254} <= set(found)
        for rate, path in found.items():
            known = probe(USUAL_FOLDER / path)
            assert known.audio is not None and known.audio.sample_rate == rate
            waveform = read_audio(USUAL_FOLDER / path, 0.0, known.duration, 16000)
            assert len(waveform) == round(known.duration * 16000)
            assert float(waveform.abs().max()) > 0.5 * known.audio.peak

    def test_the_shortest_and_the_longest_recording_become_speech(self) -> None:
        letters = "symbols/alphabets/english/filled/uppercase/H_filled_desc_ca.ogg"
        waveform, truncated = speech(USUAL_FOLDER / letters, clip_key(0, letters))
        assert not truncated and len(waveform) == 96_000
        assert 0 < int(waveform.count_nonzero()) < 0.17 * 48_000
        chess = "symbols/chess/b_4_knight_desc_el.ogg"
        assert probe(USUAL_FOLDER / chess).duration == pytest.approx(19.8, abs=0.05)
        waveform, truncated = speech(USUAL_FOLDER / chess, clip_key(0, chess))
        assert truncated and len(waveform) == 96_000
        # A peak at full scale keeps the RMS below 0.1.
        assert 0.08 < float(waveform.square().mean().sqrt()) < 0.1 and float(waveform.abs().max()) < 0.991

    def test_silence_is_no_speech(self) -> None:
        with pytest.raises(MediaError, match="silent"):
            speech(USUAL_FOLDER / "animals/birds/nandou.ogg", clip_key(0, ""))

    def test_pictures_of_every_mode_and_size(self, stamps: Stamps) -> None:
        def look(item: str) -> tuple[int, int, bool, bool]:
            rgba = read_rgba(USUAL_FOLDER / item)
            assert bool(torch.isfinite(composite(fit(rgba, 32))).all())
            return rgba.shape[1], rgba.shape[2], bool((rgba[3] == 255).all()), bool(rgba[3].any())

        with ThreadPoolExecutor() as pool:
            seen = list(pool.map(look, [item.png for item in stamps.items if item.png]))
        sides = [side for height, width, _, _ in seen for side in (height, width)]
        assert (min(sides), max(sides)) == (7, 2348)
        assert all(visible for *_, visible in seen)
        # Palettes without transparency are opaque; a decoder that loses that shows nothing at all.
        assert sum(opaque for _, _, opaque, _ in seen) == 3

    def test_mirrored_letters_are_each_other_and_say_so(self, stamps: Stamps) -> None:
        letters = {item.id.rsplit("/", 1)[1]: item for item in stamps.items if "filled/lowercase" in item.id}
        for one, other in (("b", "d"), ("p", "q")):
            pair = [letters[f"{name}_filled"] for name in (one, other)]
            assert all(item.nomirror for item in pair)
            first, second = (fit(read_rgba(USUAL_FOLDER / str(item.png)), 96) for item in pair)
            assert alike(torch.stack([first.flip(-1), second])) == [(0, 1)]

    def test_clips_are_one_per_group_and_carry_their_speech_in_time(
        self, stamps: Stamps, made: Made, tmp_path: Path
    ) -> None:
        groups = {item.id.partition("_desc")[0]: str(item.group) for item in made.items if item.id}
        groups = {item.id: groups.get(item.id, item.id) for item in stamps.items}
        clips, refused = render_stamps(stamps, groups, "fr", tmp_path, Options(count=3))
        assert not refused
        assert len({item.group for item in clips}) == 3
        stamp = {item.id: item for item in stamps.items}
        for item in clips:
            known = probe(tmp_path / item.path)
            assert known.video is not None and known.audio is not None
            assert (known.video.frames, known.video.width, known.video.fps) == (30, 128, 15)
            assert known.audio.sample_rate == 48_000 and item.caption == stamp[str(item.id)].captions["fr"]
            sound = stamp[str(item.id)].descriptions()["fr"]
            written, _ = speech(stamps.folder / sound.path, clip_key(0, f"fr/{item.id}"))
            heard = read_audio(tmp_path / item.path, 0.0, 2.0, 48_000)
            assert abs(lag(heard, written)) <= 48  # 1 ms

    def test_an_unknown_language_lists_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"'xx'.*digits.*fr"):
            make(tmp_path, Options(variant="xx"))

    def test_digits_are_spoken_by_210_voices_in_22_languages(self, stamps: Stamps, tmp_path: Path) -> None:
        voices = spoken_digits(stamps)
        assert len(voices) == 210 and len({voice.language for voice in voices}) == 22
        made = make(tmp_path, Options(variant="digits", count=2))
        assert [item.label for item in made.items] == ["0", "0"]
        known = probe(tmp_path / made.items[0].path)
        assert known.duration == pytest.approx(1.0, abs=0.03) and known.flags == ()

    @pytest.mark.slow
    def test_sounds_decode_and_the_levels_are_as_measured(self, stamps: Stamps) -> None:
        """Every fifth of the Spanish and Bulgarian descriptions, and every fiftieth of the others."""
        described = [sound for sound in stamps.sounds if sound.kind == "description"]
        spoken = [s for place, s in enumerate(described) if place % (5 if s.language in ("es", "bg") else 50) == 0]

        def level(path: str) -> tuple[float, float]:
            known = probe(USUAL_FOLDER / path)
            waveform = read_audio(USUAL_FOLDER / path, 0.0, known.duration, 44100)
            assert bool(waveform.isfinite().all()) and known.audio is not None
            return known.audio.peak, float(waveform.square().mean().sqrt())

        with ThreadPoolExecutor() as pool:
            levels = dict(zip(spoken, pool.map(lambda sound: level(sound.path), spoken), strict=True))
        loudness = {
            language: 20
            * math.log10(statistics.median(rms for sound, (_, rms) in levels.items() if sound.language == language))
            for language in ("es", "bg")
        }
        assert loudness["es"] == pytest.approx(-6.6, abs=0.5)
        assert loudness["bg"] == pytest.approx(-32.7, abs=0.5)
        assert all(peak >= 0.99 for sound, (peak, _) in levels.items() if sound.language == "es")


def lag(heard: torch.Tensor, written: torch.Tensor) -> int:
    """Return by how many samples `heard` is later, by the maximum of the cross-correlation."""
    size = len(heard) + len(written)
    product = torch.fft.rfft(heard, size) * torch.fft.rfft(written, size).conj()
    best = int(torch.fft.irfft(product, size).argmax())
    return best if best < size // 2 else best - size
