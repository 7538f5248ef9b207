"""Adapters of downloaded data sets, on small trees of real media in the official layouts."""

import csv
import io

import pytest
from bad_media import write

from coview.data.adapters import Options, load_adapter
from coview.data.adapters.kinetics_sounds import CLASSES
from coview.data.index import index_source
from coview.errors import UsageError


@pytest.fixture(scope="module")
def film():
    out = io.BytesIO()
    write(out, format="mp4", seconds=0.5, size=(32, 32))
    return out.getvalue()


@pytest.fixture(scope="module")
def sound():
    out = io.BytesIO()
    write(out, format="wav", video=None, audio="pcm_s16le", seconds=0.2)
    return out.getvalue()


def put(root, files, data):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def index(name, folder, out):
    return index_source(name, out, options=Options(folder=folder), workers=0)


def rows(collection, *names):
    return {r.id: tuple(getattr(r, name) for name in names) for r in collection}


def refused(collection, reason):
    return [lost.path for lost in collection.quarantine() if lost.reason == reason]


def test_vggsound_in_both_namings(film, tmp_path):
    root = tmp_path / "vggsound"
    text(root / "vggsound.csv", "-a_b,30,people marching,train", 'xyz,1,"mice, squeaking",test', "gone,7,typing,train",
         "two,10,typing,test")  # fmt: skip
    put(root, ["video/-a_b_000030.mp4", "test/xyz_1.mp4", "train/two_10.mp4"], film)
    collection = index("vggsound", root, tmp_path / "c")
    assert rows(collection, "label", "split", "group") == {
        "-a_b_000030": ("people marching", "train", "-a_b"),
        "xyz_000001": ("mice, squeaking", "test", "xyz"),
        "two_000010": ("typing", "test", "two"),
    }
    report = collection.about["report"]
    assert report["there"] == {"train": 1, "test": 2} and report["official"] == {"train": 183730, "test": 15446}
    assert "train: the list has 2, the official one 183730" in report["notes"][0]
    (lost,) = collection.quarantine()
    assert (lost.path, lost.reason) == ("gone_000007.mp4", "not-downloaded") and "robots.ox.ac.uk" in lost.message
    assert len(index("vggsound:test", root, tmp_path / "d")) == 2

    with pytest.raises(UsageError, match=r"lacks the list filenames_train_subset\.txt.*kvilouras/AV-SSRL"):
        index("vggsound:50k", root, tmp_path / "e")
    text(root / "filenames_train_subset.txt", "-a_b_30.mp4")
    text(root / "filenames_test.txt", "xyz_1.mp4")
    assert index("vggsound:50k", root, tmp_path / "e").ids == ["-a_b_000030", "xyz_000001"]
    with pytest.raises(UsageError, match="vggsound:50k or vggsound:test"):
        index("vggsound:60k", root, tmp_path / "f")


def test_ucf101_has_three_folds(film, tmp_path):
    root = tmp_path / "UCF101"
    lists = root / "ucfTrainTestlist"
    names = [f"Archery/v_Archery_g0{g}_c01.avi" for g in (1, 2, 8)] + ["TaiChi/v_TaiChi_g08_c02.avi"]
    text(lists / "classInd.txt", "1 Archery", "2 TaiChi")
    for fold in range(3):
        text(lists / f"trainlist0{fold + 1}.txt", *(f"{n} 1" for k, n in enumerate(names) if k != fold))
        text(lists / f"testlist0{fold + 1}.txt", names[fold])
    put(root / "UCF-101", names[:3], film)
    collection = index("ucf101", root, tmp_path / "c")
    assert rows(collection, "label", "split", "folds", "group")[names[0]] == (
        "Archery", "test", ("test", "train", "train"), "v_Archery_g01",
    )  # fmt: skip
    assert collection.folds == 3 and collection.select(split="test", fold=2).ids == [names[1]]
    assert [lost.path for lost in collection.quarantine()] == [names[3]]
    assert collection.about["report"]["listed"]["fold 1 train"] == 3
    heard = index("ucf51", root, tmp_path / "s")  # of tai chi there is no sound
    assert heard.ids == collection.ids and not len(heard.quarantine())
    assert heard.about["report"]["official"] == {"classes": 51} and heard.about["report"]["listed"]["classes"] == 1
    (lists / "testlist02.txt").unlink()
    with pytest.raises(UsageError, match=r"testlist02\.txt.*crcv\.ucf\.edu"):
        index("ucf101", root, tmp_path / "d")


def test_hmdb51_leaves_out_what_a_fold_does_not_use(film, tmp_path):
    root, lists = tmp_path / "hmdb51", tmp_path / "hmdb51" / "testTrainMulti_7030_splits"
    clips = ["A_#film_shoot_bow_u_cm_np1.avi", "B;2_shoot_bow_u_cm_np2.avi"]
    for fold, flags in enumerate(("12", "20", "11")):
        text(lists / f"shoot_bow_test_split{fold + 1}.txt", *(f"{c} {f} " for c, f in zip(clips, flags, strict=True)))
        text(lists / f"hug_test_split{fold + 1}.txt", f"{clips[0]} 2")
    put(root / "hmdb51_org", [*(f"shoot_bow/{c}" for c in clips), f"hug/{clips[0]}"], film)
    collection = index("hmdb51", root, tmp_path / "c")
    assert rows(collection, "label", "folds", "group", "path") == {
        f"hug/{clips[0]}": ("hug", ("test",) * 3, clips[0], f"hmdb51_org/hug/{clips[0]}"),
        f"shoot_bow/{clips[0]}": (
            "shoot_bow",
            ("train", "test", "train"),
            "A_#film",
            f"hmdb51_org/shoot_bow/{clips[0]}",
        ),
        f"shoot_bow/{clips[1]}": ("shoot_bow", ("test", "", "train"), "B;2", f"hmdb51_org/shoot_bow/{clips[1]}"),
    }
    with (lists / "hug_test_split1.txt").open("a") as more:
        more.write(f"\n{clips[1]} 3\nalone\n")
    again = index("hmdb51", root, tmp_path / "d")
    assert again.ids == collection.ids and refused(again, "damaged-list") == [f"{clips[1]} 3", "alone"]


def test_kinetics_sounds_takes_its_classes_alone(film, tmp_path):
    root = tmp_path / "kinetics"
    head = "label,youtube_id,time_start,time_end,split"
    text(root / "train.csv", head, "mowing lawn,aaa,3,13,train", "abseiling,bbb,1,11,train")
    text(root / "val.csv", head, "playing violin,ccc,0,10,val")
    text(root / "test.csv", head, "playing violin,ddd,0,10,test")
    put(root, ["train/mowing lawn/aaa_000003_000013.mp4", "val/ccc.mp4"], film)
    collection = index("kinetics-sounds", root, tmp_path / "c")
    assert rows(collection, "label", "split") == {
        "aaa_000003_000013": ("mowing the lawn by pushing lawnmower", "train"),
        "ccc_000000_000010": ("playing violin", "validation"),
    }
    assert [lost.path for lost in collection.quarantine()] == ["ddd_000000_000010.mp4"]
    assert len(set(CLASSES.values())) == 34


def test_flickr_soundnet_by_list_or_whole(film, tmp_path):
    root = tmp_path / "flickr"
    put(root, ["videos/1/100.mp4", "videos/2/200.mp4", "300.mp4"], film)
    assert len(index("flickr-soundnet", root, tmp_path / "c")) == 3
    text(root / "flickr_10k.txt", "100", "videos/2/200.mp4", "999")
    collection = index("flickr-soundnet:10k", root, tmp_path / "d")
    assert collection.ids == ["100", "200"] and [lost.path for lost in collection.quarantine()] == ["999.mp4"]
    with pytest.raises(UsageError, match="10k, 144k, test"):
        index("flickr-soundnet:5k", root, tmp_path / "e")


def test_audioset_reads_counts_from_the_lists_themselves(film, sound, tmp_path):
    root = tmp_path / "audioset"
    text(
        root / "class_labels_indices.csv",
        "index,mid,display_name",
        "0,/m/09x0r,Speech",
        '1,/m/05zppz,"Male speech, man"',
    )
    head = ("# Segments csv created Sun Mar  5 10:54:31 2017", "# num_ytids={0}, num_segs={0}, num_unique_labels=527",
            "# YTID, start_seconds, end_seconds, positive_labels")  # fmt: skip
    text(root / "balanced_train_segments.csv", *(line.format(2) for line in head),
         '--4gqARaEJE, 0.000, 10.000, "/m/09x0r,/m/05zppz"', 'x_y, 30.000, 40.000, "/m/09x0r"')  # fmt: skip
    text(root / "eval_segments.csv", *(line.format(3) for line in head), 'zzz, 21.000, 31.000, "/m/0new"')
    put(root, ["balanced/--4gqARaEJE_0.mp4", "eval/zzz_21000_31000.mp4"], film)
    put(root, ["balanced/Yx_y.wav"], sound)
    collection = index("audioset", root, tmp_path / "c")
    assert rows(collection, "caption", "split", "has_video") == {
        "--4gqARaEJE_0": ("Speech; Male speech, man", "train", True),
        "x_y_30": ("Speech", "train", False),
        "zzz_21": ("/m/0new", "test", True),
    }
    report = collection.about["report"]
    assert (
        report["official"] == {"labels": 527, "balanced": 2, "eval": 3} and "eval: the list has 1" in report["notes"][1]
    )
    text(root / "eval_segments.csv", 'zzz, 21.000, 31.000, "/m/0new"')
    with pytest.raises(UsageError, match="num_segs"):
        index("audioset:eval", root, tmp_path / "d")


def test_esc50_has_five_folds(sound, tmp_path):
    root = tmp_path / "ESC-50-master"
    names = [f"{fold}-1000{fold}-A-0.wav" for fold in range(1, 6)]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    for fold, name in enumerate(names, start=1):
        table.writerow([name, fold, 0, "dog", True, f"1000{fold}", "A"])
    text(root / "meta" / "esc50.csv", out.getvalue().strip())
    put(root / "audio", names, sound)
    collection = index("esc50", root, tmp_path / "c")
    assert collection.folds == 5 and [collection.select(split="test", fold=f).ids for f in range(1, 6)] == [
        [name] for name in names
    ]
    assert collection.about["report"]["official"] == {"sounds": 2000, "classes": 50}


def test_dcase_goes_by_names_and_folders(sound, tmp_path):
    root = tmp_path / "dcase"
    put(root / "scenes_stereo", ["bus01.wav", "busystreet01.wav", "tube10.wav"], sound)
    put(root / "scenes_stereo_testset", ["tubestation01.wav"], sound)
    collection = index("dcase", root, tmp_path / "c")
    assert rows(collection, "label", "split") == {
        "train/bus01": ("bus", "train"),
        "train/busystreet01": ("busystreet", "train"),
        "train/tube10": ("tube", "train"),
        "test/tubestation01": ("tubestation", "test"),
    }
    assert "train/park01.wav" not in collection.ids and len(collection.quarantine()) == 97 + 99
    put(root / "scenes_stereo", ["kitchen01.wav"], sound)
    again = index("dcase", root, tmp_path / "d")
    assert again.ids == collection.ids and refused(again, "damaged-list") == ["scenes_stereo/kitchen01.wav"]


@pytest.mark.parametrize(
    "name", ["vggsound", "ucf101", "hmdb51", "kinetics-sounds", "flickr-soundnet", "audioset", "esc50", "dcase"]
)
def test_a_folder_that_is_missing_or_empty_says_where_to_get_what(name, tmp_path):
    make = load_adapter(name)
    for options in (Options(), Options(folder=tmp_path / "nowhere"), Options(folder=tmp_path)):
        with pytest.raises(UsageError) as caught:
            make(tmp_path, options)
        assert "http" in str(caught.value) or "repository" in str(caught.value) or "no media files" in str(caught.value)


SPANS = "label,youtube_id,time_start,time_end\nbowling,a,1,11"
LISTS = {
    "vggsound": {"vggsound.csv": "a,1,typing,train"},
    "ucf101": {"classInd.txt": "1 A"} | {f"{p}list0{k}.txt": "A/v_a.avi" for p in ("train", "test") for k in (1, 2, 3)},
    "hmdb51": {f"A_test_split{k}.txt": "v_a.avi 1" for k in (1, 2, 3)},
    "kinetics-sounds": {f"{part}.csv": SPANS for part in ("train", "val", "test")},
    "flickr-soundnet:test": {"flickr_test.txt": "a"},
    "audioset:eval": {
        "class_labels_indices.csv": "mid,display_name\n/m/0,Speech",
        "eval_segments.csv": "# num_segs=1\na, 1, 11, /m/0",
    },
    "esc50": {"esc50.csv": "filename,fold,category,src_file\na.wav,1,dog,1"},
}
FILES = ("a_000001.mp4", "A/v_a.mp4", "a.mp4", "a_000001_000011.mp4")


@pytest.mark.parametrize("name", LISTS)
def test_damaged_lines_of_a_list_cost_themselves_alone(name, film, tmp_path):
    """One without its fields, one that is no text, one that is there twice, one with a NUL, in every list in turn."""
    root = tmp_path / "root"
    put(root, FILES, film)
    for path, content in LISTS[name].items():
        text(root / path, content)
    sound_ids = index(name, root, tmp_path / "sound").ids
    for number, (path, content) in enumerate(LISTS[name].items()):
        again = content.splitlines()[-1].encode()
        (root / path).write_bytes(content.encode() + b"\n,,\n\xff\xfe,1\n" + again + b"\n\0,\0,9\n")
        found = index(name, root, tmp_path / str(number))
        assert found.ids == sound_ids and "\ufffd\ufffd,1" in refused(found, "damaged-list")
        text(root / path, content)
