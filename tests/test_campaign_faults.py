"""`slhmc measure` on directories as they are: unreadable and missing files, files in parts, files that are there twice."""

import errno
import shutil

import pytest
from link_files import parts, random_links
from running import refusal, slhmc_command
from test_campaign import CARD, arguments, campaign, measured  # noqa: F401

from slhmc.errors import InputError
from slhmc.io import RunDirectory, fingerprint, found_configurations, run_configurations


def test_unreadable_files_do_not_keep_the_others_from_being_measured(campaign, capsys, caplog, monkeypatch):  # noqa: F811
    """The system's answer to all but root; a file named like the others counts as one of them."""
    lat, opened = campaign / "lat", open
    (lat / "notes.txt").write_text("lattices")

    def refused(path, *arguments, **options):
        if str(path).endswith(("notes.txt", "lat.300")):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **options)
    monkeypatch.setattr("builtins.open", refused)
    line = refusal(capsys, *arguments(campaign))
    assert "ckpoint_lat.300: cannot be read: permission denied" in line and "(1 failure; all else is measured and kept)" in line
    assert "notes.txt passed over, 1 in all" in caplog.text
    assert measured(lat / "measure.h5").series("rectangle")[0].tolist() == [100, 200]


def test_what_was_measured_and_cannot_be_read_any_more_is_told_alone(campaign, capsys):  # noqa: F811
    lat = campaign / "lat"
    assert slhmc_command(*arguments(campaign)) == 0
    shutil.copy(lat / "ckpoint_lat.100", lat / "ckpoint_lat.400")
    (lat / "ckpoint_lat.200").unlink()
    (lat / "ckpoint_lat.200").symlink_to("tape")
    line = refusal(capsys, *arguments(campaign))
    assert "ckpoint_lat.200: cannot be read: no such file or directory" in line and "(1 failure; all else" in line
    assert measured(lat / "measure.h5").series("rectangle")[0].tolist() == [100, 200, 300, 400]


def test_a_link_that_leads_nowhere_is_a_configuration_that_is_missing(campaign, capsys):  # noqa: F811
    lat = campaign / "lat"
    (lat / "ckpoint_lat.400").symlink_to("nothing")
    line = refusal(capsys, *arguments(campaign))
    assert "ckpoint_lat.400: cannot be read: no such file" in line and "(1 failure; all else is measured" in line
    (lat / "ckpoint_lat.400").unlink()
    (lat / "ckpoint_lat.400").symlink_to("ckpoint_lat.400")    # to itself
    assert "ckpoint_lat.400: cannot be read: too many levels of symbolic links" in refusal(capsys, *arguments(campaign))
    assert measured(lat / "measure.h5").series("rectangle")[0].tolist() == [100, 200, 300]


def test_an_empty_file_named_like_the_others_is_damaged(campaign, capsys):  # noqa: F811
    (campaign / "lat" / "ckpoint_lat.400").write_bytes(b"")
    assert "ckpoint_lat.400: an empty file found" in refusal(capsys, *arguments(campaign))


def write_parts(folder, number, seed):
    links = random_links((2, 2, 2, 4), 3, seed)
    for part, data in enumerate(parts(links, (2, 2, 2, 4))):
        (folder / f"lat.{number}.vol{part:04d}").write_bytes(data)


def test_a_file_in_parts_is_one_configuration(tmp_path, capsys):
    """The parts begin as files of links do, and differ in digits."""
    (tmp_path / "card.toml").write_text(CARD)
    (tmp_path / "lat").mkdir()
    for number in (10, 20):
        write_parts(tmp_path / "lat", number, number)
        assert [(one.number, one.label) for one in found_configurations(tmp_path / "lat")] == [
            (n, f"lat.{n}.vol0000") for n in (10, 20) if n <= number]
    found = found_configurations(tmp_path / "lat", "lat.{n}.vol*")
    assert [one.number for one in found] == [10, 20]
    assert slhmc_command(*arguments(tmp_path)) == 0
    assert measured(tmp_path / "lat" / "measure.h5").series("rectangle")[0].tolist() == [10, 20]
    before = fingerprint(found[0].path)
    last = tmp_path / "lat" / "lat.10.vol0002"
    last.write_bytes(last.read_bytes()[:-1] + b"x")
    assert fingerprint(found[0].path) != before, "any part counts"
    assert "lat.10.vol0000: has changed since it was measured" in refusal(capsys, *arguments(tmp_path))


def test_two_files_of_one_trajectory_are_refused(tmp_path):
    files = RunDirectory(tmp_path)
    files.configurations.mkdir()
    for name in ("cfg_20.h5", "cfg_000010.h5"):
        (files.configurations / name).write_bytes(b"")
    assert [(one.number, one.path.name) for one in run_configurations(files)] == [(10, "cfg_000010.h5"), (20, "cfg_20.h5")]
    (files.configurations / "cfg_10.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"cfg_000010\.h5 and cfg_10\.h5 are both of trajectory 10"):
        run_configurations(files)


@pytest.mark.parametrize("path", [".", "/", "", "folder"])
def test_a_directory_is_no_file_of_results(campaign, capsys, monkeypatch, path):  # noqa: F811
    monkeypatch.chdir(campaign)
    (campaign / "folder").mkdir()
    assert "a directory found, the name of a file of measurements expected" in refusal(capsys, *arguments(campaign, "-o", path))


def test_ambiguous_names_say_where_they_are(campaign, capsys):  # noqa: F811
    shutil.copytree(campaign / "lat", campaign / "more")
    shutil.copy(campaign / "lat" / "ckpoint_lat.100", campaign / "more" / "other.1.nersc")
    assert f"{campaign / 'more'}: names of 2 kinds" in refusal(capsys, *arguments(campaign, campaign / "more"))


def test_directories_with_nothing_to_measure_do_not_keep_others_from_it(campaign, capsys):  # noqa: F811
    """Whichever comes first; all are told at the end, and a directory alone is refused at once."""
    for name in ("more", "empty"):
        (campaign / name).mkdir()
    shutil.copy(campaign / "lat" / "ckpoint_lat.100", campaign / "more")
    card = ["--card", campaign / "card.toml"]
    capsys.readouterr()
    assert slhmc_command("measure", *(campaign / name for name in ("missing", "lat", "empty", "more")), *card) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "missing: " in first and "empty: no " in second and "(2 failures; all else is measured and kept)" in second
    assert all((campaign / name / "measure.h5").exists() for name in ("lat", "more"))
    assert not (campaign / "empty" / "measure.h5").exists()
    assert slhmc_command("measure", campaign / "empty", campaign / "missing", *card) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "empty: no " in first and "missing: " in second
    assert "missing: " in refusal(capsys, "measure", campaign / "missing", *card)
