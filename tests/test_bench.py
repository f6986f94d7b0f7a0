"""`slhmc bench` runs, states a bound beside each time, and counts flops as the field does."""

import json

import pytest

from slhmc.bench import cases, main, report, scalar, timing, trajectories


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(timing, "MEASUREMENTS", 1)
    monkeypatch.setattr(timing, "TARGET", 1e-3)
    monkeypatch.setattr(report, "QUICK", ((4, 4, 4, 4),))
    monkeypatch.setattr(trajectories.staggered_card, "__defaults__", (2,))
    monkeypatch.setattr(trajectories.pure_gauge, "__defaults__", ((4, 4, 4, 4), 3, 6.0, 2))
    monkeypatch.setattr(scalar.measure, "__defaults__", (2, 1))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_every_row_has_its_bound_and_json_says_the_same(short, tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert main(quick=True, json_file=str(file)) == 0
    table, result = capsys.readouterr().out, json.loads(file.read_text())
    assert {row["threads"] for row in result["kernels"]} == {1}
    assert {row["kernel"] for row in result["kernels"]} >= {"plaquette SU(3)", "gauge force SU(2)", "staggered hop SU(3)"}
    for row in result["kernels"]:
        assert row["seconds"] > 0 and row["bound_seconds"] > 0
        assert row["fraction"] == pytest.approx(row["bound_seconds"] / row["seconds"])
        assert row["kernel"] in table and row["meeting_seconds"] == 0
    for row in result["networks"]:
        assert row["difference"] < 1e-4 and row["ratio"] == pytest.approx(row["direct_seconds"] / row["seconds"])
        assert row["name"] in table
    assert {row["name"] for row in result["networks"]} == {"W(2x2) small SU(2)", "W(2x2) small SU(3)"}
    for row in result["worms"]:
        assert row["updates_per_second"] * row["seconds"] == pytest.approx(1) and row["bound_seconds"] > 0
        assert f"worm, 60x4, mu {row['mu']:g}, {row['chains']} chains" in table
    assert [row["mu"] for row in result["worms"]] == [1.0, 1.3]
    assert all(0 < row["kernel_share"] <= 1 for row in result["trajectories"]) and len(result["trajectories"]) == 2


def test_json_alone_on_the_terminal(short, capsys):
    assert main(quick=True, json_file="-") == 0
    assert json.loads(capsys.readouterr().out)["bounds"][0]["peak"]["double"] > 1e9


def test_flops_and_bytes_of_the_hopping_term():
    assert cases.hopping_flops(3, 4) == 570  # the field's count
    assert cases.hopping_bytes(3, 4, 8) == 8 * (8 * 12 + 12)
